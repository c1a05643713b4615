"""What makes an annotation file unusable: every wrong record, in one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any


def structural_problems(content: Any) -> Iterator[str]:
    """Name every record of a YouTube-VIS file that cannot be used; none if the file can be.

    Args:
        content: of the JSON file.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("videos"), list):
        yield f"not a YouTube-VIS file (expected lists 'videos' and 'categories'){_youtube_vos_hint(content)}"
        return
    if not content["videos"]:
        yield "no videos in it"
    if not isinstance(content.get("categories"), list) or not content["categories"]:
        yield "no list of categories in it"
        return
    if not isinstance(content.get("annotations"), list | None):
        yield "'annotations' is not a list"
        return
    yield from _category_problems(content["categories"])
    yield from _video_problems(content["videos"])
    lengths = {video["id"]: len(video["file_names"]) for video in content["videos"] if not _video_problem(video)}
    categories = {c["id"] for c in content["categories"] if isinstance(c, Mapping) and _is_integer(c.get("id"))}
    yield from _track_problems(content.get("annotations") or [], lengths, categories)


def _youtube_vos_hint(content: Any) -> str:
    """YouTube-VOS's `meta.json` maps names to objects under `videos`, its lists for STTN names to lengths."""
    is_vos = isinstance(content, Mapping) and (
        isinstance(content.get("videos"), Mapping) or (content and all(isinstance(v, int) for v in content.values()))
    )
    return "; it is a list of YouTube-VOS, which has masks as PNG and no instance categories" if is_vos else ""


def _category_problems(categories: list[Any]) -> Iterator[str]:
    seen = set()
    for position, category in enumerate(categories):
        if not isinstance(category, Mapping) or not _is_integer(category.get("id")):
            yield f"category number {position}: no integer id"
        elif not isinstance(category.get("name"), str):
            yield f"category {category['id']}: no name"
        elif category["id"] in seen:
            yield f"category {category['id']}: this id twice"
        else:
            seen.add(category["id"])


def _video_problems(videos: list[Any]) -> Iterator[str]:
    seen = set()
    for position, video in enumerate(videos):
        problem = _video_problem(video)
        known = isinstance(video, Mapping) and _is_integer(video.get("id"))
        label = f"video {video['id']}" if known else f"video number {position}"
        if problem:
            yield f"{label}: {problem}"
        elif video["id"] in seen:
            yield f"{label}: this id twice"
        else:
            seen.add(video["id"])


def _video_problem(video: Any) -> str | None:
    if not isinstance(video, Mapping) or not _is_integer(video.get("id")):
        return "no integer id"
    for key in ("width", "height"):
        if not _is_integer(video.get(key)) or video[key] < 1:
            return f"no {key} in pixels"
    files = video.get("file_names")
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        return "no list of file_names"
    if outside := [file for file in files if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts]:
        return f"{outside[0]} is not a path within the folder of the images"
    if video.get("length", len(files)) != len(files):
        return f"{len(files)} file_names for a length of {video['length']}"
    return None


def _track_problems(records: list[Any], lengths: dict[int, int], categories: set[int]) -> Iterator[str]:
    seen = set()
    for position, record in enumerate(records):
        if not isinstance(record, Mapping) or not _is_integer(record.get("id")):
            yield f"annotation number {position}: no integer id"
            continue
        label = f"track {record['id']}"
        if record["id"] in seen:
            yield f"{label}: this id twice"
        seen.add(record["id"])
        if not _is_integer(record.get("category_id")) or record["category_id"] not in categories:
            yield f"{label}: unknown category_id {record.get('category_id')}"
        if record.get("iscrowd", 0) not in (0, 1, None):
            yield f"{label}: iscrowd must be 0 or 1"
        if not _is_integer(record.get("video_id")) or record["video_id"] not in lengths:
            yield f"{label}: unknown video_id {record.get('video_id')}"
        else:
            yield from _list_problems(label, record, lengths[record["video_id"]])


def _list_problems(label: str, record: Mapping[str, Any], length: int) -> Iterator[str]:
    """Each list has one entry a frame; only the masks must be there."""
    for key in ("segmentations", "areas"):
        values = record.get(key)
        if values is None and key == "areas":
            continue
        if not isinstance(values, list):
            yield f"{label}: no list of {key}"
        elif len(values) != length:
            yield f"{label}: {len(values)} {key} for a video of {length} frames"
        elif key == "areas" and not all(value is None or isinstance(value, int | float) for value in values):
            yield f"{label}: areas that are not numbers"


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
