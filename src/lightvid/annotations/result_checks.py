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

RUNS = re.compile("[0-o]*[0-O]")
"""Runs as COCO compresses them: 5 bits a character, the lowest first; "P" to "o" say that more of the run follow."""
FIRST_RUN = re.compile("[P-o]*[0-O]")
MASKS_A_CALL = 255
"""That pycocotools measures at once; with NumPy 2 it takes no more."""


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
    """What `record_areas` raises; None where nothing is wrong."""
    try:
        record_areas(record, videos, categories, as_benchmark=as_benchmark)
    except RecordError as problem:
        return str(problem)
    return None


def record_areas(
    record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool = False
) -> NDArray[np.float64]:
    """Check one predicted track and measure its masks.

    Args:
        record: as in a results file.
        videos: those that it may belong to, by id.
        categories: the ids that it may have.
        as_benchmark: let pass what the published evaluation computes with: other categories, any number of masks, masks
            of any size.

    Returns:
        As `masks_areas`.

    Raises:
        RecordError: a field is missing or damaged.
    """
    if not isinstance(record, Mapping):
        raise RecordError(f"expected an object, got {type(record).__name__}")
    for field in ("video_id", "category_id", "score", "segmentations"):
        if field not in record:
            raise RecordError(f"{field}: missing")
    for field, known in (("video_id", videos), ("category_id", categories)):
        value = record[field]
        if not isinstance(value, Integral) or (value not in known and not (as_benchmark and field == "category_id")):
            raise RecordError(f"{field}: {value!r} is not in the ground truth")
    if not isinstance(record["score"], Real) or not math.isfinite(record["score"]):
        raise RecordError(f"score: expected a finite number, got {record['score']!r}")
    return masks_areas(record["segmentations"], None if as_benchmark else videos[int(record["video_id"])])


def masks_areas(segmentations: Any, video: VideoFormat | None) -> NDArray[np.float64]:
    """Check a track's masks, None or compressed run lengths with text counts, one for each frame, and measure them.

    Args:
        segmentations: the masks.
        video: whose length and size they must have; None: any.

    Returns:
        `(frames,)` pixels, 0 where there is no mask.

    Raises:
        RecordError: the first of them.
    """
    if not isinstance(segmentations, list):
        raise RecordError("segmentations: expected a list with one entry for each frame")
    if video and len(segmentations) != video.length:
        counts = f"{len(segmentations)} entries for a video of {video.length} frames"
        raise RecordError(f"segmentations: {counts} (null = not visible)")
    visible = [frame for frame, mask in enumerate(segmentations) if mask is not None]
    for frame in visible:
        _check_form(segmentations[frame], frame, video)
    areas = np.zeros(len(segmentations))
    areas[visible], totals = areas_and_totals([segmentations[frame]["counts"] for frame in visible])
    for frame, total in zip(visible, totals.tolist(), strict=True):
        height, width = segmentations[frame]["size"]
        if total != height * width:
            raise RecordError(
                f"segmentations[{frame}]: its counts are damaged, they do not fill {width}x{height} pixels"
            )
    return areas


def _check_form(mask: Any, frame: int, video: VideoFormat | None) -> None:
    if not is_compressed(mask):
        raise RecordError(f"segmentations[{frame}]: expected null or compressed run lengths with size and text counts")
    height, width = mask["size"]
    if video and (height != video.height or width != video.width):
        size = f"{width}x{height} for frames of {video.width}x{video.height}"
        raise RecordError(f"segmentations[{frame}]: a mask of {size}")


def is_compressed(mask: Any) -> bool:
    """Whether it is run lengths with a size and text counts; not whether these fill it."""
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        return False
    size = mask.get("size")
    return isinstance(size, (list, tuple)) and len(size) == 2 and isinstance(size[0], int) and isinstance(size[1], int)


def areas_and_totals(texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of ones, and of all runs together, that N texts describe; the total of a text that is no runs is -1.

    pycocotools trusts its input: it reads beyond a text that ends within a run, and loops for ever over one whose runs
    do not fill the image. It sums the runs of ones alone (every second one), so each text is summed as it is, with its
    first run alone after an empty one, and with two empty runs in the place of the first. These do not disturb the
    later runs, which are stored as differences to the run two before.
    """
    areas, totals = np.zeros(len(texts), np.int64), np.full(len(texts), -1, np.int64)
    readable = _readable(texts)
    parts = [texts[index] for index in readable]
    for text in parts[:]:
        first = FIRST_RUN.match(text).end()  # type: ignore[union-attr]
        parts += ["0" + text[:first], "00" + text[first:]]
    sums = _runs_of_ones(parts)
    areas[readable] = sums[: len(readable)]
    totals[readable] = sums[: len(readable)] + sums[len(readable) :].reshape(-1, 2).sum(1)
    return areas, totals


def _readable(texts: Sequence[str]) -> list[int]:
    """Those that are runs; all of them at once where no character is another one, text by text otherwise."""
    characters = np.frombuffer("".join(texts).encode("utf-8", "surrogatepass"), np.uint8)
    if characters.size and characters.min() >= ord("0") and characters.max() <= ord("o"):
        return [index for index, text in enumerate(texts) if text and text[-1] <= "O"]
    return [index for index, text in enumerate(texts) if RUNS.fullmatch(text)]


def _runs_of_ones(texts: Sequence[str]) -> NDArray[np.int64]:
    masks = [{"size": (1, 1), "counts": text} for text in texts]
    parts = [coco.area(masks[start : start + MASKS_A_CALL]) for start in range(0, len(masks), MASKS_A_CALL)]
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
