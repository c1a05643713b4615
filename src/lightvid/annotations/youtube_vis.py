"""Annotation files of YouTube-VIS 2019, 2021 and 2022, and of OVIS."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lightvid.annotations.rle import RLE, measure, to_rle, unfilled
from lightvid.annotations.youtube_vis_layout import Found, find_annotations, find_images, list_annotation_files
from lightvid.annotations.youtube_vis_problems import structural_problems
from lightvid.errors import DataError

__all__ = [
    "Annotations",
    "Category",
    "Found",
    "Track",
    "VideoEntry",
    "find_annotations",
    "find_images",
    "list_annotation_files",
    "parse_annotations",
    "read_annotations",
    "read_json",
]


@dataclass(frozen=True)
class Category:
    """A category of a file; the releases number them differently, so ids mean something within one file only."""

    id: int
    name: str


@dataclass(frozen=True)
class VideoEntry:
    """A video: its size in pixels, and the path of each frame within the folder of the images."""

    id: int
    width: int
    height: int
    file_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.file_names)

    @property
    def name(self) -> str:
        """The folder of its frames."""
        return str(PurePosixPath(self.file_names[0]).parent)


@dataclass(frozen=True)
class Track:
    """One instance over a video.

    Attributes:
        id: of the annotation.
        video_id: see `VideoEntry.id`.
        category_id: see `Category.id`.
        segmentations: of each frame of the video, at its size; None where the instance is not visible.
        areas: of each frame in pixels, as the file says; measured where it says nothing.
        is_crowd: several instances that could not be told apart.
    """

    id: int
    video_id: int
    category_id: int
    segmentations: tuple[RLE | None, ...]
    areas: tuple[float | None, ...]
    is_crowd: bool


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds.

    Attributes:
        path: of the file.
        videos: in its order.
        categories: sorted by id. A class is a category's place in this list.
        tracks: in its order; None where the file has none, as the benchmarks' files for validation and test.
    """

    path: Path
    videos: list[VideoEntry]
    categories: list[Category]
    tracks: list[Track] | None

    def tracks_by_video(self) -> dict[int, list[Track]]:
        """The tracks of each video's id; none for all videos of a file without tracks."""
        grouped: dict[int, list[Track]] = {video.id: [] for video in self.videos}
        for track in self.tracks or []:
            grouped[track.video_id].append(track)
        return grouped


def read_annotations(path: str | Path) -> Annotations:
    """Read a file whole and check it; all masks become compressed run lengths, which are a tenth of the memory.

    Raises:
        DataError: not such a file, or the first wrong record in it.
    """
    path = Path(path)
    return parse_annotations(read_json(path), path)


def parse_annotations(content: Any, path: Path) -> Annotations:
    """Check what a file holds, as `read_annotations`.

    Args:
        content: of the JSON.
        path: what errors name.

    Raises:
        DataError: the first wrong record.
    """
    for problem in structural_problems(content):
        raise DataError(f"{path}: {problem}")
    categories = sorted((Category(record["id"], record["name"]) for record in content["categories"]), key=_by_id)
    videos = [
        VideoEntry(record["id"], record["width"], record["height"], tuple(record["file_names"]))
        for record in content["videos"]
    ]
    records = content.get("annotations")
    if records is None:
        return Annotations(path, videos, categories, None)
    entries = {video.id: video for video in videos}
    tracks = [_read_track(path, record, entries[record["video_id"]]) for record in records]
    return Annotations(path, videos, categories, tracks)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it is missing or not readable as JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot read this annotation file ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None


def _by_id(category: Category) -> int:
    return category.id


def _read_track(path: Path, record: Mapping[str, Any], video: VideoEntry) -> Track:
    label = f"{path}: track {record['id']}"
    segmentations: list[RLE | None] = []
    for frame, segmentation in enumerate(record["segmentations"]):
        if not segmentation:  # null, and the empty list that some converters write
            segmentations.append(None)
            continue
        rle = to_rle(segmentation, video.height, video.width, f"{label}, frame {frame}")
        if rle["size"] != [video.height, video.width]:
            height, width = rle["size"]
            raise DataError(
                f"{label}, frame {frame}: a mask of {width}x{height} for frames of {video.width}x{video.height}"
            )
        segmentations.append(rle)
    measured = _measure(segmentations, label)
    return Track(
        id=record["id"],
        video_id=record["video_id"],
        category_id=record["category_id"],
        segmentations=tuple(segmentations),
        areas=tuple(record.get("areas") or measured),
        is_crowd=bool(record.get("iscrowd")),
    )


def _measure(segmentations: Sequence[RLE | None], label: str) -> list[int | None]:
    """Pixels in each frame; None where the instance is not visible."""
    areas = iter(measure([rle for rle in segmentations if rle is not None]))
    measured: list[int | None] = []
    for frame, rle in enumerate(segmentations):
        measured.append(None if rle is None else next(areas))
        if rle is not None and measured[-1] is None:
            raise DataError(f"{label}, frame {frame}: {unfilled(*rle['size'])}")
    return measured
