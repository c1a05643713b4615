"""Tracks as the evaluation needs them, from the records of ground truth and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightvid.annotations.result_checks import VideoFormat, mask_areas, masks_problem
from lightvid.annotations.rle import RLE, to_rle
from lightvid.errors import DataError

Masks: TypeAlias = Sequence[RLE | None]
"""One mask for each frame; None where the instance is not visible."""


class PredictedTrack(NamedTuple):
    """A track of the results."""

    category_id: int
    score: float
    masks: Masks


class AnnotatedTrack(NamedTuple):
    """A track of the ground truth.

    Attributes:
        category_id: its category.
        area: in pixels, the mean over the frames where it has one.
        crowd: it is ignored, and takes any number of predictions with it.
        findable: False where the published evaluation never counts it as found, although it was matched.
        masks: one for each frame.
    """

    category_id: int
    area: float
    crowd: bool
    findable: bool
    masks: Masks


def predicted_track(record: Mapping[str, Any]) -> PredictedTrack:
    """A track of the results that `record_problem` let pass."""
    return PredictedTrack(record["category_id"], float(record["score"]), record["segmentations"])


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
        None if mask is None else to_rle(mask, video.height, video.width, f"{label}: segmentations[{frame}]")
        for frame, mask in enumerate(record["segmentations"])
    ]
    problem = masks_problem(masks, None if as_benchmark else video)
    if problem:
        raise DataError(f"{label}: {problem}")
    areas = record.get("areas")
    area = mean_area(track_areas([masks])[0] if areas is None else areas)
    findable = not as_benchmark or record.get("id") != 0
    return AnnotatedTrack(record["category_id"], area, bool(record.get("iscrowd", 0)), findable, masks)


def track_areas(tracks: Sequence[Masks]) -> NDArray[np.float64]:
    """Pixels of each mask, `(N, frames of the longest)`; 0 where there is none."""
    areas = np.zeros((len(tracks), max(map(len, tracks), default=0)))
    for row, masks in enumerate(tracks):
        visible = [frame for frame, mask in enumerate(masks) if mask is not None]
        areas[row, visible] = mask_areas([mask for mask in masks if mask is not None])
    return areas


def mean_area(areas: Sequence[float | None] | NDArray[np.float64]) -> float:
    """The mean over the frames where the track has an area; 0 if it has none anywhere."""
    known = [area for area in areas if area]
    return float(np.mean(known)) if known else 0.0
