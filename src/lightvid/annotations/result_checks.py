"""What can be wrong in one record of a results file, told in one line."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from lightvid.annotations.rle import RLE

RUNS = re.compile("[0-o]*[0-O]")
"""Runs as COCO compresses them: 5 bits a character, the lowest first; "P" to "o" say that more of the run follow."""
FIRST_RUN = re.compile("[P-o]*[0-O]")


class VideoFormat(NamedTuple):
    """Frames of a video, and their size in pixels."""

    length: int
    height: int
    width: int


def record_problem(
    record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool = False
) -> str | None:
    """The first problem of one predicted track, `field: what is wrong`; None where there is none.

    Args:
        record: as in a results file.
        videos: those that it may belong to, by id.
        categories: the ids that it may have.
        as_benchmark: let pass what the published evaluation computes with: other categories, any number of masks, masks
            of any size.
    """
    if not isinstance(record, Mapping):
        return f"expected an object, got {type(record).__name__}"
    for field in ("video_id", "category_id", "score", "segmentations"):
        if field not in record:
            return f"{field}: missing"
    for field, known in (("video_id", videos), ("category_id", categories)):
        value = record[field]
        if not isinstance(value, Integral) or (value not in known and not (as_benchmark and field == "category_id")):
            return f"{field}: {value!r} is not in the ground truth"
    if not isinstance(record["score"], Real) or not math.isfinite(record["score"]):
        return f"score: expected a finite number, got {record['score']!r}"
    return masks_problem(record["segmentations"], None if as_benchmark else videos[int(record["video_id"])])


def masks_problem(segmentations: Any, video: VideoFormat | None) -> str | None:
    """The first problem of a track's masks: None or compressed run lengths with text counts, one for each frame.

    Args:
        segmentations: the masks.
        video: whose length and size they must have; None: any.
    """
    if not isinstance(segmentations, list):
        return "segmentations: expected a list with one entry for each frame"
    if video and len(segmentations) != video.length:
        return f"segmentations: {len(segmentations)} entries for a video of {video.length} frames (null = not visible)"
    visible = [(frame, mask) for frame, mask in enumerate(segmentations) if mask is not None]
    for frame, mask in visible:
        if not _is_compressed(mask):
            return f"segmentations[{frame}]: expected null or compressed run lengths with size and text counts"
        height, width = mask["size"]
        if video and (height, width) != video[1:]:
            return f"segmentations[{frame}]: a mask of {width}x{height} for frames of {video.width}x{video.height}"
    for (frame, mask), total in zip(visible, run_totals([mask["counts"] for _, mask in visible]), strict=True):
        height, width = mask["size"]
        if total != height * width:
            return f"segmentations[{frame}]: its counts are damaged, they do not fill {width}x{height} pixels"
    return None


def _is_compressed(mask: Any) -> bool:
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return False
    size = mask.get("size")
    return isinstance(size, (list, tuple)) and len(size) == 2 and isinstance(size[0], int) and isinstance(size[1], int)


def run_totals(texts: Sequence[str]) -> NDArray[np.int64]:
    """Pixels that the texts of N compressed run lengths describe, all runs together; -1 for a text that is none.

    pycocotools trusts its input: it reads beyond a text that ends within a run, and loops for ever over one whose runs
    do not fill the image. It sums the runs of ones alone (every second one), so each text is summed as it is, with its
    first run alone after an empty one, and with two empty runs in the place of the first. These do not disturb the
    later runs, which are stored as differences to the run two before.
    """
    totals = np.full(len(texts), -1, np.int64)
    readable = [index for index, text in enumerate(texts) if RUNS.fullmatch(text)]
    parts = []
    for index in readable:
        text = texts[index]
        first = FIRST_RUN.match(text).end()  # type: ignore[union-attr]
        parts += [text, "0" + text[:first], "00" + text[first:]]
    totals[readable] = mask_areas([{"size": [1, 1], "counts": part} for part in parts]).reshape(-1, 3).sum(1)
    return totals


def mask_areas(masks: Sequence[RLE]) -> NDArray[np.int64]:
    """`(N,)` pixels of compressed run lengths."""
    parts = [
        coco.area(list(masks[start : start + 255])) for start in range(0, len(masks), 255)
    ]  # not more with NumPy 2
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
