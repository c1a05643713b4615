"""Masks as intervals of their columns, and the pixels that two of them share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_tubes import Tube

SEVERAL = -1
MOST_IN_A_COLUMN = 4
"""Intervals, in the mean, that are worth comparing each with each."""


class Intervals(NamedTuple):
    """The pixels of masks of one size, one below the other in each column, in the order of frames, columns and rows.

    Attributes:
        frames: `(N,)` of each mask.
        counts: `(N,)` intervals of each mask; at least one, which may be empty.
        columns: `(R,)` counted through all frames, width by width.
        tops: `(R,)` first row.
        bottoms: `(R,)` one more than the last row.
    """

    frames: NDArray[np.int64]
    counts: NDArray[np.int64]
    columns: NDArray[np.int64]
    tops: NDArray[np.int32]
    bottoms: NDArray[np.int32]


class Columns(NamedTuple):
    """The same, to be looked up by column. Most columns hold one interval at most.

    Attributes:
        intervals: as they were.
        tops: `(columns,)` of the one interval of each column; 0 where there is none, or several.
        bottoms: `(columns,)` likewise; `SEVERAL` where there are several.
        first: `(columns,)` index of the uppermost interval of each column.
    """

    intervals: Intervals
    tops: NDArray[np.int32]
    bottoms: NDArray[np.int32]
    first: NDArray[np.int64]


def cut_into_intervals(tube: Tube, size: tuple[int, int], frames: int) -> Intervals:
    """Of a track's masks with this (height, width), which has pixels, in the first so many frames."""
    height, width = size
    starts, stops, counts, places = tube.starts, tube.stops, tube.counts, tube.frames
    used = (places < frames) & (tube.sizes == size).all(1)
    if not used.all():
        runs = np.repeat(used, counts)
        starts, stops, counts, places = starts[runs], stops[runs], counts[used], places[used]
    # an empty run belongs to the pixel before it: it does not enlarge the box, and the last one has its column
    columns = np.maximum(starts - (starts == stops), 0) // height
    tops = starts - columns * height
    bottoms = tops + (stops - starts)
    if bottoms.size and bottoms.max() > height:
        columns, tops, bottoms, counts = _split(columns, tops, bottoms, counts, height)
    return Intervals(places, counts, columns + np.repeat(places * width, counts), tops, bottoms)


def _split(
    columns: NDArray[np.int32],
    tops: NDArray[np.int32],
    bottoms: NDArray[np.int32],
    counts: NDArray[np.int64],
    height: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """An interval in each column for runs that go on in the next ones."""
    spanned = np.maximum(-(-bottoms // height), 1)
    run = np.repeat(np.arange(len(columns)), spanned)
    before = (np.arange(len(run)) - np.repeat(np.cumsum(spanned) - spanned, spanned)).astype(np.int32)
    counts = np.add.reduceat(spanned, np.cumsum(counts) - counts, dtype=np.int64)
    tops, bottoms = np.maximum(tops[run] - before * height, 0), np.minimum(bottoms[run] - before * height, height)
    return columns[run] + before, tops, bottoms, counts


def boxes(intervals: Intervals) -> NDArray[np.float64]:
    """`(N, 4)` that hold all pixels of each mask: left, top, right and bottom ends."""
    last = intervals.counts.cumsum() - 1
    first = last + 1 - intervals.counts
    tops, bottoms = np.minimum.reduceat(intervals.tops, first), np.maximum.reduceat(intervals.bottoms, first)
    return np.stack((intervals.columns[first], tops, intervals.columns[last] + 1, bottoms), 1).astype(np.float64)


def index_columns(intervals: Intervals, columns: int) -> Columns:
    """Prepare to be compared with others; so many columns are there in all frames."""
    key = intervals.columns
    tops, bottoms = np.zeros((2, columns), np.int32)
    tops[key], bottoms[key] = intervals.tops, intervals.bottoms
    several = np.flatnonzero(key[1:] == key[:-1])
    tops[key[several]], bottoms[key[several]] = 0, SEVERAL
    first = np.zeros(columns, np.int64)
    first[key[several[::-1]]] = several[::-1]  # of equal indices, the last one is kept
    return Columns(intervals, tops, bottoms, first)


def shared_pixels(one: Intervals, other: Columns, height: int) -> int:
    """The size of the intersection of masks of the same frames and size."""
    if len(other.intervals.columns) > MOST_IN_A_COLUMN * np.count_nonzero(other.bottoms):
        return _shared_by_interpolation(one, other.intervals, height)
    bottoms = other.bottoms[one.columns]
    shared = _shared_rows(one.tops, one.bottoms, other.tops[one.columns], bottoms, height)
    these = np.flatnonzero(bottoms == SEVERAL)
    places = other.first[one.columns[these]]
    while these.size:
        rows = other.intervals.tops[places], other.intervals.bottoms[places]
        shared += _shared_rows(one.tops[these], one.bottoms[these], *rows, height)
        places += 1
        further = other.intervals.columns.take(places, mode="clip") == one.columns[these]
        further &= places < len(other.intervals.columns)
        these, places = these[further], places[further]
    return shared


def _shared_rows(
    tops: NDArray[np.int32],
    bottoms: NDArray[np.int32],
    other_tops: NDArray[np.int32],
    other_bottoms: NDArray[np.int32],
    height: int,
) -> int:
    rows = np.minimum(bottoms, other_bottoms)
    rows -= np.maximum(tops, other_tops)
    fits = len(rows) * height < 2**31
    return int(np.maximum(rows, 0, out=rows).sum(dtype=np.int32 if fits else np.int64))


def _shared_by_interpolation(one: Intervals, other: Intervals, height: int) -> int:
    """With all columns stacked to one, in which pixels are counted: their number grows within intervals only."""
    ends, other_ends = (
        (np.stack((part.tops, part.bottoms), 1) + part.columns[:, None] * height).astype(np.float64)
        for part in (one, other)
    )
    pixels = np.zeros(other_ends.shape)
    pixels[:, 1] = other.bottoms - other.tops
    up_to = np.interp(ends, other_ends.ravel(), pixels.ravel().cumsum())
    return round(float((up_to[:, 1] - up_to[:, 0]).sum()))
