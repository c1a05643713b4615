"""Checking DAVIS, YouTube-VOS and plain folders of videos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lightvid.annotations.youtube_vis import read_json
from lightvid.errors import DataError
from lightvid.video import VIDEO_SUFFIXES, Video, open_video
from lightvid.video.reading import ImageSequence

from .checking_report import Problem, Report, SplitSummary
from .layout import VideoPaths, find_container, optional_container

THREADS = 8


def check_davis(root: Path, *, decode: bool) -> Report:
    """Check every list within `ImageSets` and each resolution of the frames."""
    report = Report("DAVIS", root)
    listed: set[str] = set()
    resolutions = sorted(folder.name for folder in (root / "JPEGImages").glob("*") if folder.is_dir()) or ["480p"]
    for listing in sorted((root / "ImageSets").glob("20*/*.txt")):
        names = listing.read_text().split()
        if not names:
            report.add(listing, "an empty list of videos")
        if len(set(names)) < len(names):
            report.add(listing, "names that are listed twice")
        listed.update(names)
        for resolution in resolutions:
            frames, annotations = root / "JPEGImages" / resolution, root / "Annotations" / resolution
            summary = SplitSummary(f"{listing.parent.name}/{listing.stem} {resolution}", tracks=0, annotated=0)
            paths = [VideoPaths(find_container(frames, name), optional_container(annotations, name)) for name in names]
            _check_videos(report, summary, paths, decode, count_instances=True)
    if not listed:
        report.add(root / "ImageSets", "no list of videos (expected ImageSets/2017/train.txt and val.txt)")
    for resolution in resolutions:
        for kind in ("JPEGImages", "Annotations"):
            _check_leftovers(report, root / kind / resolution, listed)
    return report


def check_youtube_vos(root: Path, *, decode: bool) -> Report:
    """Check both layouts of YouTube-VOS."""
    report = Report("YouTube-VOS", root)
    folders = [(split, root / split, root / split / "meta.json") for split in ("train", "valid", "test")]
    found = [entry for entry in folders if entry[1].is_dir()]
    if not found:
        found = [(split, root, root / f"{split}.json") for split in ("train", "test")]
    listed: dict[Path, set[str]] = {}
    for split, folder, listing in found:
        videos = _read_listing(report, listing)
        listed.setdefault(folder, set()).update(videos)
        summary = SplitSummary(split, annotated=0)
        objects = [video["objects"] for video in videos.values() if isinstance(video, dict) and "objects" in video]
        if objects:
            summary.tracks = sum(map(len, objects))
            summary.categories = len({o.get("category") for group in objects for o in group.values()})
        paths = [
            VideoPaths(find_container(folder / "JPEGImages", name), optional_container(folder / "Annotations", name))
            for name in sorted(videos)
        ]
        _check_videos(report, summary, paths, decode)
    for folder, names in listed.items():
        for kind in ("JPEGImages", "Annotations"):
            _check_leftovers(report, folder / kind, names)
    return report


def check_video_folder(root: Path, *, decode: bool) -> Report:
    """Check a plain folder of video files, folders of images and zips of images."""
    report = Report("folder of videos", root)
    suffixes = (*VIDEO_SUFFIXES, ".zip")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    paths = [VideoPaths(entry) for entry in entries if entry.is_dir() or entry.suffix.lower() in suffixes]
    _check_videos(report, SplitSummary("all"), paths, decode)
    return report


def frame_problems(
    video: Video, size: tuple[int, int] | None, *, decode: bool, masks: bool = False
) -> Iterator[Problem | tuple[int, int]]:
    """The (height, width) of the frames of a video, and each that is unreadable or of another size.

    Args:
        video: frames or, with `masks`, annotations.
        size: that the frames must have; None takes the first one's.
        decode: decode all pixels instead of reading headers alone.
        masks: decode as `Video.read_masks`.
    """
    if isinstance(video, ImageSequence):
        parts: Iterable[Video] = (type(video)(video.path, video.name, [name]) for name in video.frame_names)
    else:
        parts = [video]
    for part in parts:
        file = video.path / part.frame_names[0] if isinstance(video, ImageSequence) else video.path
        try:
            if decode:
                (shape,) = {picture.shape[:2] for picture in _decode(part, masks)}
            else:
                shape = part.size()
        except DataError as error:
            yield Problem(file, str(error).removeprefix(f"{file}: "))
            continue
        size = size or shape
        if shape != size:
            yield Problem(file, f"{shape[1]}x{shape[0]} pixels, expected {size[1]}x{size[0]}")
        yield shape


def _decode(video: Video, masks: bool) -> Iterator[np.ndarray]:
    for index in range(len(video)):
        yield (video.read_masks if masks else video.read)([index])[0]


def _check_videos(
    report: Report, summary: SplitSummary, paths: list[VideoPaths], decode: bool, *, count_instances: bool = False
) -> None:
    report.splits.append(summary)
    summary.videos = len(paths)
    with ThreadPoolExecutor(THREADS) as pool:
        for part, problems in pool.map(lambda each: _check_video(each, decode, count_instances), paths):
            summary.merge(part)
            report.problems += problems


def _check_video(paths: VideoPaths, decode: bool, count_instances: bool) -> tuple[SplitSummary, list[Problem]]:
    summary = SplitSummary(paths.frames.name)
    try:
        video = open_video(paths.frames)
    except DataError as error:
        return summary, [Problem(paths.frames, str(error).removeprefix(f"{paths.frames}: "))]
    summary.frames = len(video)
    findings = list(frame_problems(video, None, decode=decode))
    problems = [finding for finding in findings if isinstance(finding, Problem)]
    sizes = [finding for finding in findings if not isinstance(finding, Problem)]
    summary.sizes = {(width, height) for height, width in sizes}
    if paths.annotations is not None:
        size = sizes[0] if sizes else None
        problems += _check_masks(summary, paths.annotations, video, size, decode, count_instances)
    return summary, problems


def _check_masks(
    summary: SplitSummary, path: Path, video: Video, size: tuple[int, int] | None, decode: bool, count_instances: bool
) -> Iterator[Problem]:
    try:
        masks = open_video(path)
    except DataError as error:
        yield Problem(path, str(error).removeprefix(f"{path}: "))
        return
    summary.annotated = len(masks)
    frames = {Path(name).stem for name in video.frame_names}
    for name in masks.frame_names:
        if Path(name).stem not in frames:
            yield Problem(path / name, f"a mask without a frame of this name in {video.path}")
    findings = frame_problems(masks, size, decode=decode or count_instances, masks=True)
    yield from (finding for finding in findings if isinstance(finding, Problem))
    if count_instances:  # no list says how many tracks there are
        summary.tracks = _count_instances(masks)


def _count_instances(masks: Video) -> int:
    seen = np.zeros(256, bool)
    for index in range(len(masks)):
        try:
            seen |= np.bincount(masks.read_masks([index]).ravel(), minlength=256) > 0
        except DataError:
            continue  # it is reported
    return int(seen[1:].sum())


def _check_leftovers(report: Report, folder: Path, listed: set[str]) -> None:
    if folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if entry.stem not in listed and entry.name not in listed and not entry.name.startswith("."):
                report.add(entry, "not in any list")


def _read_listing(report: Report, listing: Path) -> dict[str, Any]:
    """The videos of a `meta.json`, or of a list of names and lengths."""
    try:
        content = read_json(listing)
    except DataError as error:
        report.add(listing, str(error).removeprefix(f"{listing}: "))
        return {}
    videos = content.get("videos", content) if isinstance(content, dict) else None
    if not isinstance(videos, dict) or not videos:
        report.add(listing, "not a list of videos, or an empty one")
        return {}
    return videos
