"""Tracks as the evaluation needs them, from the records of ground truth and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from lightvid.annotations.result_checks import RecordError, VideoFormat, are_compressed, check_masks, is_compressed
from lightvid.annotations.rle import RLE, to_rle
from lightvid.errors import DataError
from lightvid.metrics.youtube_vis_tubes import Tube, read_tubes


class PredictedTrack(NamedTuple):
    """A track of the results.

    Attributes:
        category_id: its category.
        score: of any scale.
        tube: its masks.
    """

    category_id: int
    score: float
    tube: Tube


class AnnotatedTrack(NamedTuple):
    """A track of the ground truth.

    Attributes:
        category_id: its category.
        area: in pixels, the mean over the frames where it has one.
        crowd: it is ignored, and takes any number of predictions with it.
        findable: False where the published evaluation never counts it as found, although it was matched.
        tube: its masks.
    """

    category_id: int
    area: float
    crowd: bool
    findable: bool
    tube: Tube


class LabelledRecord(NamedTuple):
    """A checked record, whose masks are not decoded yet.

    Attributes:
        label: what to call it in messages.
        record: as in the JSON file.
        masks: one for each frame; None where the instance is not visible.
    """

    label: str
    record: Mapping[str, Any]
    masks: Sequence[RLE | None]


def check_annotation(
    record: Mapping[str, Any], label: str, video: VideoFormat, *, as_benchmark: bool = False
) -> LabelledRecord:
    """A record of the ground truth, checked all but for whether its run lengths fill their size.

    Args:
        record: as in the JSON file; its masks are polygons, uncompressed or compressed run lengths.
        label: what to call it in messages.
        video: whose length and size the masks must have, and on which polygons are drawn.
        as_benchmark: masks of any number and size pass.

    Raises:
        DataError: a field is missing or wrong.
    """
    if not isinstance(record.get("segmentations"), list):
        raise DataError(f"{label}: segmentations: expected a list with one entry for each frame")
    masks = record["segmentations"]
    if len(masks) != video.length or not are_compressed(masks, [video.height, video.width]):
        masks = [
            mask
            if mask is None or is_compressed(mask)
            else to_rle(mask, video.height, video.width, f"{label}: segmentations[{frame}]")
            for frame, mask in enumerate(masks)
        ]
        try:
            check_masks(masks, None if as_benchmark else video)
        except RecordError as problem:
            raise DataError(f"{label}: {problem}") from None
    areas = record.get("areas")
    if areas is not None and not _are_areas(areas):
        raise DataError(f"{label}: areas: expected a list of numbers and nulls, one for each frame")
    return LabelledRecord(label, record, masks)


def decode_tracks(
    predictions: Sequence[LabelledRecord], annotations: Sequence[LabelledRecord], *, as_benchmark: bool = False
) -> tuple[list[PredictedTrack], list[AnnotatedTrack]]:
    """The tracks of checked records; a missing `iscrowd` is 0, missing `areas` are those of the masks.

    Args:
        predictions: of results.
        annotations: of the ground truth.
        as_benchmark: an annotated track with the id 0 is not findable, as in the published evaluation.

    Raises:
        DataError: damaged run lengths.
    """
    records = [*annotations, *predictions]
    tubes = read_tubes([checked.masks for checked in records])
    for checked, tube in zip(records, tubes, strict=True):
        if problem := tube.damage():
            raise DataError(f"{checked.label}: {problem}")
    annotated = [
        _annotated_track(checked.record, tube, as_benchmark=as_benchmark)
        for checked, tube in zip(annotations, tubes, strict=False)
    ]
    predicted = [
        PredictedTrack(checked.record["category_id"], float(checked.record["score"]), tube)
        for checked, tube in zip(predictions, tubes[len(annotations) :], strict=True)
    ]
    return predicted, annotated


def _annotated_track(record: Mapping[str, Any], tube: Tube, *, as_benchmark: bool) -> AnnotatedTrack:
    areas = record.get("areas")
    area = tube.mean_area() if areas is None else _mean_area(areas)
    findable = not as_benchmark or record.get("id") != 0
    return AnnotatedTrack(record["category_id"], area, bool(record.get("iscrowd", 0)), findable, tube)


def _mean_area(areas: Sequence[float | None]) -> float:
    """The mean over the frames where the track has an area; 0 if it has none anywhere."""
    known = [area for area in areas if area]
    return float(np.mean(known)) if known else 0.0


def _are_areas(areas: Any) -> bool:
    return isinstance(areas, list) and all(area is None or isinstance(area, Real) for area in areas)
