"""What can be wrong in one record of a results file, told in one line."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from numbers import Integral, Real
from operator import itemgetter
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.annotations.runs import read_runs

MASKS_A_CALL = 100
"""That are measured at once; what their runs take stays in the cache."""
LONGEST = 2**31
"""Sides of masks are shorter."""


class VideoFormat(NamedTuple):
    """Frames of a video, and their size in pixels."""

    length: int
    height: int
    width: int


class RecordError(ValueError):
    """The first thing wrong in one record: `field: what is wrong`, in one line."""


def record_problem(
    record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool = False
) -> str | None:
    """What `check_record` raises, or the first mask whose counts are damaged; None where nothing is wrong."""
    try:
        check_record(record, videos, categories, as_benchmark=as_benchmark)
    except RecordError as problem:
        return str(problem)
    visible = [(frame, mask) for frame, mask in enumerate(record["segmentations"]) if mask is not None]
    _, totals = areas_and_totals([mask["counts"] for _, mask in visible])
    for (frame, mask), total in zip(visible, totals.tolist(), strict=True):
        height, width = mask["size"]
        if total != height * width:
            return damage(frame, height, width)
    return None


def check_record(
    record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool = False
) -> None:
    """Check all of one predicted track but whether the counts of its masks fill their size.

    Args:
        record: as in a results file.
        videos: those that it may belong to, by id.
        categories: the ids that it may have.
        as_benchmark: let pass what the published evaluation computes with: other categories, any number of masks, masks
            of any size.

    Raises:
        RecordError: a field is missing or wrong.
    """
    check_fields(record, videos, categories, as_benchmark=as_benchmark)
    check_masks(record["segmentations"], None if as_benchmark else videos[int(record["video_id"])])


def check_fields(
    record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool = False
) -> None:
    """As `check_record`, all but each single mask."""
    if not isinstance(record, Mapping):
        raise RecordError(f"expected an object, got {type(record).__name__}")
    for field in ("video_id", "category_id", "score", "segmentations"):
        if field not in record:
            raise RecordError(f"{field}: missing")
    for field, known in (("video_id", videos), ("category_id", categories)):
        value = record[field]
        if not isinstance(value, Integral) or (value not in known and not (as_benchmark and field == "category_id")):
            raise RecordError(f"{field}: {value!r} is not in the ground truth")
    if not _is_finite(record["score"]):
        raise RecordError(f"score: expected a finite number, got {shorten(repr(record['score']), 60)}")
    _check_frames(record["segmentations"], None if as_benchmark else videos[int(record["video_id"])])


def check_masks(segmentations: Any, video: VideoFormat | None) -> None:
    """Check a track's masks, None or compressed run lengths with text counts, one for each frame.

    Args:
        segmentations: the masks.
        video: whose length and size they must have; None: any.

    Raises:
        RecordError: the first that is wrong.
    """
    _check_frames(segmentations, video)
    if video and are_compressed(segmentations, [video.height, video.width]):
        return
    for frame, mask in enumerate(segmentations):
        if mask is None:
            continue
        if not is_compressed(mask):
            form = "null or compressed run lengths with size and text counts"
            raise RecordError(f"segmentations[{frame}]: expected {form}")
        height, width = mask["size"]
        if video and (height != video.height or width != video.width):
            size = f"{width}x{height} for frames of {video.width}x{video.height}"
            raise RecordError(f"segmentations[{frame}]: a mask of {size}")


def _is_finite(score: Any) -> bool:
    try:
        return isinstance(score, Real) and math.isfinite(score)
    except OverflowError:  # a whole number that no float holds
        return False


def _check_frames(segmentations: Any, video: VideoFormat | None) -> None:
    if not isinstance(segmentations, list):
        raise RecordError("segmentations: expected a list with one entry for each frame")
    if video and len(segmentations) != video.length:
        counts = f"{len(segmentations)} entries for a video of {video.length} frames"
        raise RecordError(f"segmentations: {counts} (null = not visible)")


def are_compressed(masks: Sequence[Any], size: list[int]) -> bool:
    """Whether all are None or compressed run lengths of this very `[height, width]`, as nearly all tracks' are.

    What this soon says of all masks, `check_masks` says one by one, and of other forms of the size.
    """
    visible = [mask for mask in masks if mask is not None]
    try:
        sizes, counts = list(map(itemgetter("size"), visible)), list(map(itemgetter("counts"), visible))
    except (KeyError, TypeError, IndexError):
        return False
    return (
        set(map(type, visible)) <= {dict}
        and set(map(type, counts)) <= {str}
        and set(map(type, sizes)) <= {list}
        and sizes.count(size) == len(sizes)
        and set(map(type, chain.from_iterable(sizes))) <= {int}
    )


def damage(frame: int, height: int, width: int) -> str:
    """What is wrong with a mask whose run lengths do not fill its size."""
    return f"segmentations[{frame}]: its counts are damaged, they do not fill {width}x{height} pixels"


def is_compressed(mask: Any) -> bool:
    """Whether it is run lengths with a size and text counts; not whether these fill it."""
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return False
    size = mask.get("size")
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return False
    height, width = size
    return type(height) is int and type(width) is int and 0 <= height < LONGEST and 0 <= width < LONGEST


def areas_and_totals(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of ones, and of all runs together, that N texts describe; the total of a text that is no runs is -1."""
    parts = [read_runs(texts[start : start + MASKS_A_CALL]) for start in range(0, len(texts), MASKS_A_CALL)]
    none = [np.zeros(0, np.int64)]
    return np.concatenate(none + [runs.areas for runs in parts]), np.concatenate(none + [runs.totals for runs in parts])
