"""The annotation files of the sample data, as YouTube-VOS and YouTube-VIS write theirs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .synthesis import CATEGORIES


class Objects(NamedTuple):
    """The objects of a clip: `(T, H, W)` masks and categories, as `SyntheticClip`."""

    masks: NDArray[np.uint8]
    categories: list[str]

    def every(self, step: int) -> Objects:
        """Those of every so many frames."""
        return Objects(self.masks[::step], self.categories)


def vos_meta(clips: dict[str, Objects]) -> dict[str, Any]:
    """The content of a `meta.json` of YouTube-VOS, every fifth frame annotated."""
    videos = {}
    for name, clip in clips.items():
        objects = {}
        for number, category in enumerate(clip.categories, start=1):
            frames = [f"{time:05d}" for time in range(0, len(clip.masks), 5) if (clip.masks[time] == number).any()]
            if frames:
                objects[str(number)] = {"category": category, "frames": frames}
        videos[name] = {"objects": objects}
    return {"videos": videos}


def vis_annotations(clips: dict[str, Objects], *, step: int, version: str) -> dict[str, Any]:
    """The content of an annotation file of YouTube-VIS 2019.

    Args:
        clips: every `step`-th frame of each.
        step: between the numbers of the frames' files.
        version: of the sample data, for the file's description.
    """
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video_id, (name, clip) in enumerate(clips.items(), start=1):
        length, height, width = clip.masks.shape
        size = {"width": width, "height": height}
        files = [f"{name}/{step * time:05d}.jpg" for time in range(length)]
        videos.append({"id": video_id, **size, "length": len(files), "file_names": files})
        for number, category in enumerate(clip.categories, start=1):
            masks = clip.masks == number
            if masks.any():
                ids = {"id": len(annotations) + 1, "video_id": video_id, "category_id": CATEGORIES.index(category) + 1}
                annotations.append({**ids, "iscrowd": 0, **size, "length": 1, **_vis_track(masks)})
    categories = [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CATEGORIES, start=1)]
    info = {"description": f"lightvid sample data, version {version}"}
    return {"info": info, "licenses": [], "videos": videos, "categories": categories, "annotations": annotations}


def _vis_track(masks: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """Masks, boxes (x, y, width, height) and areas of one instance over `(T, H, W)`; None where it is not seen."""
    track: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": []}
    for mask in masks:
        seen = bool(mask.any())
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners = (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1) if seen else ()
        track["segmentations"].append(encode_rle(mask) if seen else None)
        track["bboxes"].append([float(value) for value in corners] or None)
        track["areas"].append(int(mask.sum()) or None)
    return track


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Uncompressed run lengths of an `(H, W)` mask, down the columns, the first run of zeros, as in COCO."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    if len(changes) and changes[-1] == mask.size:
        counts = counts[:-1]
    return {"counts": counts.tolist(), "size": list(mask.shape)}
