"""Checking YouTube-VIS and OVIS: the annotation files, and their frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lightvid.annotations.rle import RLE, measure, to_rle, unfilled
from lightvid.annotations.rle import decode as decode_mask
from lightvid.annotations.youtube_vis import VideoEntry, find_images, list_annotation_files, read_json
from lightvid.annotations.youtube_vis_layout import FOLDER_NAMES, dataset_folder
from lightvid.annotations.youtube_vis_problems import structural_problems
from lightvid.errors import DataError
from lightvid.video.reading import FrameFolder

from .checking_report import Problem, Report, SplitSummary
from .checking_videos import THREADS, frame_problems

Records = list[Mapping[str, Any]]


def check_youtube_vis(root: Path, *, decode: bool) -> Report:
    """Check the annotation file of each split, its frames, and what lies beside them."""
    check = _Check(Report("YouTube-VIS", root), root, decode)
    for split in FOLDER_NAMES:
        for file in list_annotation_files(root, split)[:1]:
            check.check_file(split, file)
    check.compare_categories()
    check.find_leftovers()
    return check.report


def check_annotation_file(file: Path, *, decode: bool) -> Report:
    """Check one annotation file; its frames are looked for in its folder and in the one that holds it."""
    check = _Check(Report("YouTube-VIS annotation file", file), dataset_folder(file), decode)
    check.check_file(file.stem, file)
    return check.report


class _Check:
    """The files of one dataset: `folders` collects the videos of each folder of images, `categories` those of files."""

    def __init__(self, report: Report, root: Path, decode: bool) -> None:
        self.report = report
        self.root = root
        self.decode = decode
        self.folders: dict[Path, set[str]] = {}
        self.categories: dict[Path, list[tuple[int, str]]] = {}

    def check_file(self, split: str, file: Path) -> None:
        try:
            content = read_json(file)
        except DataError as error:
            self.report.add(file, str(error).removeprefix(f"{file}: "))
            return
        problems = list(structural_problems(content))
        self.report.problems += [Problem(file, problem) for problem in problems]
        if not isinstance(content, Mapping) or not isinstance(content.get("videos"), list):
            return
        wrong = {problem.partition(":")[0] for problem in problems}
        kinds = _usable(content, "categories", "category", wrong)
        self.categories[file] = sorted((kind["id"], kind["name"]) for kind in kinds)
        entries = {
            video["id"]: VideoEntry(video["id"], video["width"], video["height"], tuple(video["file_names"]))
            for video in _usable(content, "videos", "video", wrong)
        }
        summary = SplitSummary(split, len(entries), sum(map(len, entries.values())), categories=len(kinds))
        self.report.splits.append(summary)
        if content.get("annotations") is not None:
            self._check_tracks(summary, file, _usable(content, "annotations", "track", wrong), entries)
        self._check_frames(summary, list(entries.values()))

    def compare_categories(self) -> None:
        first = next(iter(self.categories), None)
        for file, categories in self.categories.items():
            if first is not None and categories != self.categories[first]:
                self.report.add(file, f"other categories than {first}")

    def find_leftovers(self) -> None:
        for folder, names in self.folders.items():
            for entry in sorted(folder.iterdir()):
                if entry.is_dir() and entry.name not in names and not entry.name.startswith("."):
                    self.report.add(entry, "not in any annotation file")

    def _check_tracks(self, summary: SplitSummary, file: Path, tracks: Records, entries: dict[int, VideoEntry]) -> None:
        annotated = set()
        for track in tracks:
            entry = entries.get(track["video_id"])
            if entry is None:
                continue  # its video is reported
            for line in _track_problems(track, entry, self.decode):
                self.report.add(file, f"track {track['id']}: {line}")
            annotated |= {(entry.id, frame) for frame, mask in enumerate(track["segmentations"]) if mask}
        summary.tracks, summary.annotated = len(tracks), len(annotated)

    def _check_frames(self, summary: SplitSummary, entries: list[VideoEntry]) -> None:
        if not entries:
            return
        try:
            images = find_images(self.root, entries)
        except DataError as error:
            self.report.add(self.root, str(error).removeprefix(f"{self.root}: "))
            return
        self.folders.setdefault(images, set()).update(entry.name.partition("/")[0] for entry in entries)
        summary.sizes = {(entry.width, entry.height) for entry in entries}
        with ThreadPoolExecutor(THREADS) as pool:
            for problems in pool.map(lambda entry: list(_video_problems(images, entry, self.decode)), entries):
                self.report.problems += problems


def _usable(content: Mapping[str, Any], key: str, kind: str, wrong: set[str]) -> Records:
    """The records that no structural problem is reported of, each id once."""
    records = content.get(key)
    candidates = [r for r in records if isinstance(r, Mapping)] if isinstance(records, list) else []
    named = [r for r in candidates if isinstance(r.get("id"), int)]
    return list({r["id"]: r for r in named if f"{kind} {r['id']}" not in wrong}.values())


def _track_problems(track: Mapping[str, Any], entry: VideoEntry, decode: bool) -> Iterator[str]:
    masks = track["segmentations"]
    if track["id"] == 0:
        yield "id 0, which the benchmark's evaluation takes for none"
    boxes = track.get("bboxes")
    if boxes is not None and (not isinstance(boxes, list) or len(boxes) != len(entry)):
        count = len(boxes) if isinstance(boxes, list) else "no list of"
        yield f"{count} bboxes for a video of {len(entry)} frames"
    elif boxes is not None:
        for frame, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
            if bool(box) != bool(mask):
                yield f"frame {frame} has {'a box without a mask' if box else 'a mask without a box'}"
    if (track.get("width", entry.width), track.get("height", entry.height)) != (entry.width, entry.height):
        size = f"{track.get('width')}x{track.get('height')}"
        yield f"of {size} pixels, its video of {entry.width}x{entry.height}"
    if not any(masks):
        yield "never visible"
    yield from _mask_problems(masks, entry, decode)


def _mask_problems(masks: Sequence[Any], entry: VideoEntry, decode: bool) -> Iterator[str]:
    height, width = entry.height, entry.width
    readable: dict[int, RLE] = {}
    for frame, mask in enumerate(masks):
        try:
            rle = to_rle(mask, height, width, f"frame {frame}") if mask else None
        except DataError as error:
            yield str(error)
            continue
        if rle is not None and rle["size"] != [height, width]:
            yield f"frame {frame}: a mask of {rle['size'][1]}x{rle['size'][0]} for frames of {width}x{height}"
        elif rle is not None:
            readable[frame] = rle
    for (frame, rle), area in zip(readable.items(), measure(list(readable.values())), strict=True):
        if area is None:
            yield f"frame {frame}: {unfilled(height, width)}"
        elif area == 0:
            yield f"frame {frame}: an empty mask (null says that there is none)"
        elif decode:
            try:
                decode_mask(rle, height, width, f"frame {frame}")
            except DataError as error:
                yield str(error)


def _video_problems(images: Path, entry: VideoEntry, decode: bool) -> Iterator[Problem]:
    if not (images / entry.name).is_dir():
        yield Problem(images / entry.name, f"no such folder, of video {entry.id}")
        return
    video = FrameFolder(images, entry.name, list(entry.file_names))
    findings = frame_problems(video, (entry.height, entry.width), decode=decode)
    yield from (finding for finding in findings if isinstance(finding, Problem))
