"""Average precision and recall of matched tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_matching import AREA_RANGES, FOUND, MOST_TRACKS, THRESHOLDS, WRONG, Matches

RECALLS = np.linspace(0, 1, 101)
TRACKS_PER_VIDEO = (1, 10, MOST_TRACKS)
NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
UNDEFINED = -1.0


@dataclass(frozen=True)
class YouTubeVISScores:
    """Precision and recall of K categories; `UNDEFINED` where a category has no track to be found.

    Attributes:
        categories: their ids.
        precision: `(K, area ranges, thresholds, recalls)`, interpolated, of at most 100 predictions in a video.
        recall: `(K, tracks per video, area ranges, thresholds)`, of at most 1, 10 and 100 predictions in a video.
    """

    categories: list[int]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]

    def numbers(self) -> dict[str, float]:
        """The twelve numbers of the benchmark in [0, 1], by the names in `NUMBERS`; -1 where nothing defines one."""
        everything = slice(None)
        return self._numbers(everything)

    def by_category(self) -> dict[int, dict[str, float]]:
        """The same of each category alone, by its id."""
        return {category: self._numbers(slice(k, k + 1)) for k, category in enumerate(self.categories)}

    def _numbers(self, some: slice) -> dict[str, float]:
        precision, recall = self.precision[some], self.recall[some]
        at_75 = int(np.argmin(abs(THRESHOLDS - 0.75)))
        parts = (
            *(precision[:, 0], precision[:, 0, 0], precision[:, 0, at_75]),
            *(precision[:, small_to_large] for small_to_large in (1, 2, 3)),
            *(recall[:, limit, 0] for limit in range(len(TRACKS_PER_VIDEO))),
            *(recall[:, -1, small_to_large] for small_to_large in (1, 2, 3)),
        )
        return {name: _mean_of_defined(part) for name, part in zip(NUMBERS, parts, strict=True)}


def average(matches: Matches, categories: Sequence[int]) -> YouTubeVISScores:
    """The scores of matches ordered by cell (video, category, rank), see `Matches.each_once`."""
    per_category = [_average_category(matches, category) for category in categories]
    none = np.zeros((0, len(AREA_RANGES), len(THRESHOLDS), len(RECALLS)))
    precision = np.stack([part[0] for part in per_category]) if per_category else none
    recall = np.stack([part[1] for part in per_category]) if per_category else none[..., : len(AREA_RANGES), :]
    return YouTubeVISScores(list(categories), precision, recall)


def _average_category(matches: Matches, category: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    positives = matches.counted[matches.annotated_cells[:, 1] == category].sum(0)[:, None]
    rows = np.flatnonzero(matches.cells[:, 1] == category)
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    ranks, found, wrong = matches.cells[rows, 2], matches.outcomes[rows] == FOUND, matches.outcomes[rows] == WRONG

    recall = np.stack([found[ranks < limit].sum(0) / np.maximum(positives, 1) for limit in TRACKS_PER_VIDEO])
    true, false = found.cumsum(0), wrong.cumsum(0)
    precision = interpolated_precision(true / np.maximum(positives, 1), true / (false + true + np.spacing(1)))
    undefined = positives[:, 0] == 0
    precision[undefined] = UNDEFINED
    recall[:, undefined] = UNDEFINED
    return precision, recall


def interpolated_precision(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    """The best precision at each of `RECALLS` or more, 0 beyond the last.

    Args:
        recall: `(N, ranges, thresholds)`, after each prediction.
        precision: likewise.

    Returns:
        `(ranges, thresholds, recalls)`.
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    best = np.concatenate((best, np.zeros((1, *best.shape[1:]))))
    interpolated = np.empty((*best.shape[1:], len(RECALLS)))
    for place in np.ndindex(best.shape[1:]):
        column = (slice(None), *place)
        interpolated[place] = best[column][np.searchsorted(recall[column], RECALLS, side="left")]
    return interpolated


def _mean_of_defined(entries: NDArray[np.float64]) -> float:
    defined = entries[entries > UNDEFINED]
    return float(defined.mean()) if defined.size else UNDEFINED
