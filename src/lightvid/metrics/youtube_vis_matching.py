"""Which predicted tracks find which annotated ones, at every IoU threshold and in every range of areas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_iou import spatio_temporal_iou
from lightvid.metrics.youtube_vis_tracks import AnnotatedTrack, PredictedTrack

THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREA_RANGES = np.array([(0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10)], np.float64)
"""All, small, medium, large: mean pixels of a track, both ends included. COCO's bounds are other ones."""
MOST_TRACKS = 100
"""Predictions that count in one category of one video."""

FOUND, WRONG, IGNORED = 1, 0, -1


class Matches(NamedTuple):
    """The outcomes of N predicted and M annotated tracks, all that the averages need.

    Attributes:
        cells: `(N, 3)` int64: video id, category id, and rank by score within both.
        scores: `(N,)` float64.
        outcomes: `(N, area ranges, thresholds)` int8: `FOUND`, `WRONG` or `IGNORED`.
        annotated_cells: `(M, 3)` int64: video id, category id, and place within both.
        counted: `(M, area ranges)` bool: the track is to be found.
    """

    cells: NDArray[np.int64]
    scores: NDArray[np.float64]
    outcomes: NDArray[np.int8]
    annotated_cells: NDArray[np.int64]
    counted: NDArray[np.bool_]

    @classmethod
    def none(cls) -> Matches:
        """No tracks."""
        ranges, thresholds = len(AREA_RANGES), len(THRESHOLDS)
        return cls(
            np.zeros((0, 3), np.int64),
            np.zeros(0),
            np.zeros((0, ranges, thresholds), np.int8),
            np.zeros((0, 3), np.int64),
            np.zeros((0, ranges), np.bool_),
        )

    @classmethod
    def join(cls, parts: Sequence[Matches]) -> Matches:
        """All tracks of the parts, in their order."""
        return cls(*(np.concatenate(arrays) for arrays in zip(cls.none(), *parts, strict=True)))

    def each_once(self) -> Matches:
        """Ordered by cell; tracks that came twice, as distributed samplers repeat videos, once."""
        _, predicted = np.unique(self.cells, axis=0, return_index=True)
        _, annotated = np.unique(self.annotated_cells, axis=0, return_index=True)
        return Matches(
            self.cells[predicted],
            self.scores[predicted],
            self.outcomes[predicted],
            self.annotated_cells[annotated],
            self.counted[annotated],
        )


def match_video(video_id: int, predictions: Sequence[PredictedTrack], tracks: Sequence[AnnotatedTrack]) -> Matches:
    """The outcomes of one video, categories ascending."""
    categories = sorted(
        {prediction.category_id for prediction in predictions} | {track.category_id for track in tracks}
    )
    return Matches.join(
        [
            _match_category(
                (video_id, category),
                [prediction for prediction in predictions if prediction.category_id == category],
                [track for track in tracks if track.category_id == category],
            )
            for category in categories
        ]
    )


def _match_category(
    cell: tuple[int, int], predictions: Sequence[PredictedTrack], tracks: Sequence[AnnotatedTrack]
) -> Matches:
    all_scores = np.array([prediction.score for prediction in predictions], np.float64)
    order = np.argsort(-all_scores, kind="stable")[:MOST_TRACKS]  # of equal scores, the first in the file
    predictions = [predictions[index] for index in order]
    inside = _inside(np.array([prediction.tube.mean_area() for prediction in predictions]))
    crowd = np.array([track.crowd for track in tracks], np.bool_)
    counted = _inside(np.array([track.area for track in tracks])) & ~crowd[:, None]

    outcomes = np.where(inside, WRONG, IGNORED)[..., None].repeat(len(THRESHOLDS), axis=-1).astype(np.int8)
    if predictions and tracks:
        tubes = ([track.tube for track in part] for part in (predictions, tracks))
        iou = spatio_temporal_iou(*tubes, least=THRESHOLDS[0])
        chosen = match(iou, counted, crowd)
        found = (chosen >= 0) & counted[chosen, np.arange(len(AREA_RANGES))[:, None]]
        outcomes[(chosen >= 0) & ~found] = IGNORED
        outcomes[found & np.array([track.findable for track in tracks])[chosen]] = FOUND
    return Matches(_cells(cell, len(order)), all_scores[order], outcomes, _cells(cell, len(tracks)), counted)


def match(iou: NDArray[np.float64], counted: NDArray[np.bool_], crowd: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The annotated track that each prediction takes, best score first, each takes the best that is left.

    A counted track is preferred to an ignored one, then the higher IoU, then the later in the file. An IoU equal to the
    threshold suffices. A track is taken once, a crowd any number of times.

    Args:
        iou: `(N, M)`, predictions by descending score.
        counted: `(M, area ranges)`, False = ignored in this range.
        crowd: `(M,)`.

    Returns:
        `(N, area ranges, thresholds)`, an index of M or -1.
    """
    tracks = iou.shape[1]
    chosen = np.full((len(iou), counted.shape[1], len(THRESHOLDS)), -1)
    enough = iou[..., None] >= np.minimum(THRESHOLDS, 1 - 1e-10)
    free = np.ones((tracks, *chosen.shape[1:]), np.bool_)
    for row in np.flatnonzero(enough.any((1, 2))).tolist():
        candidates = np.flatnonzero(enough[row].any(1))
        if len(candidates) == 1:
            only = candidates[0]
            taken = enough[row, only] & free[only]
            chosen[row][taken] = only
            free[only] &= crowd[only] | ~taken
            continue
        preference = np.empty(tracks, np.int64)
        preference[np.argsort(iou[row], kind="stable")] = np.arange(tracks)
        grades = (preference[:, None] + tracks * counted)[..., None]
        grades = np.where(enough[row][:, None] & free, grades, -1)
        best = grades.argmax(0)
        chosen[row] = np.where(grades.max(0) >= 0, best, -1)
        ranges, thresholds = np.nonzero(chosen[row] >= 0)
        taken = best[ranges, thresholds]
        free[taken, ranges, thresholds] = crowd[taken]
    return chosen


def _inside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """`(N,)` areas in pixels; `(N, area ranges)`."""
    return (areas[:, None] >= AREA_RANGES[:, 0]) & (areas[:, None] <= AREA_RANGES[:, 1])


def _cells(cell: tuple[int, int], count: int) -> NDArray[np.int64]:
    return np.array([(*cell, place) for place in range(count)], np.int64).reshape(count, 3)
