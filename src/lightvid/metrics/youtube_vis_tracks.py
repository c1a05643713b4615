"""Tracks as the evaluation needs them, from the records of ground truth and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightvid.annotations.result_checks import RecordError, VideoFormat, is_compressed, masks_areas
from lightvid.annotations.rle import RLE, to_rle
from lightvid.errors import DataError

Masks: TypeAlias = Sequence[RLE | None]
"""One mask for each frame; None where the instance is not visible."""


class PredictedTrack(NamedTuple):
    """A track of the results.

    Attributes:
        category_id: its category.
        score: of any scale.
        masks: one for each frame.
        pixels: `(frames,)`, of each mask, 0 where there is none.
    """

    category_id: int
    score: float
    masks: Masks
    pixels: NDArray[np.float64]


class AnnotatedTrack(NamedTuple):
    """A track of the ground truth.

    Attributes:
        category_id: its category.
        area: in pixels, the mean over the frames where it has one.
        crowd: it is ignored, and takes any number of predictions with it.
        findable: False where the published evaluation never counts it as found, although it was matched.
        masks: one for each frame.
        pixels: `(frames,)`, of each mask, 0 where there is none.
    """

    category_id: int
    area: float
    crowd: bool
    findable: bool
    masks: Masks
    pixels: NDArray[np.float64]


def predicted_track(record: Mapping[str, Any], pixels: NDArray[np.float64]) -> PredictedTrack:
    """A track of the results, with what `record_areas` measured."""
    return PredictedTrack(record["category_id"], float(record["score"]), record["segmentations"], pixels)


def annotated_track(
    record: Mapping[str, Any], label: str, video: VideoFormat, *, as_benchmark: bool = False
) -> AnnotatedTrack:
    """A track of the ground truth, checked; a missing `iscrowd` is 0, missing `areas` are those of the masks.

    Args:
        record: as in the JSON file; its masks are polygons, uncompressed or compressed run lengths.
        label: what to call it in messages.
        video: whose length and size the masks must have, and on which polygons are drawn.
        as_benchmark: masks of any number and size pass, and the id 0 is not findable, as in the published evaluation.

    Raises:
        DataError: a field is missing or damaged.
    """
    if not isinstance(record.get("segmentations"), list):
        raise DataError(f"{label}: segmentations: expected a list with one entry for each frame")
    masks = [
        mask
        if mask is None or is_compressed(mask)
        else to_rle(mask, video.height, video.width, f"{label}: segmentations[{frame}]")
        for frame, mask in enumerate(record["segmentations"])
    ]
    try:
        pixels = masks_areas(masks, None if as_benchmark else video)
    except RecordError as problem:
        raise DataError(f"{label}: {problem}") from None
    areas = record.get("areas")
    if areas is not None and not _are_areas(areas):
        raise DataError(f"{label}: areas: expected a list of numbers and nulls, one for each frame")
    area = mean_area(pixels if areas is None else areas)
    findable = not as_benchmark or record.get("id") != 0
    return AnnotatedTrack(record["category_id"], area, bool(record.get("iscrowd", 0)), findable, masks, pixels)


def mean_area(areas: Sequence[float | None] | NDArray[np.float64]) -> float:
    """The mean over the frames where the track has an area; 0 if it has none anywhere."""
    known = [area for area in areas if area]
    return float(np.mean(known)) if known else 0.0


def _are_areas(areas: Any) -> bool:
    return isinstance(areas, list) and all(area is None or isinstance(area, Real) for area in areas)
