"""Masks as intervals of their columns, and the pixels that two of them share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_tubes import Tube

MOST_IN_A_COLUMN = 4
"""Intervals, in the mean, that are worth comparing each with each."""


class Intervals(NamedTuple):
    """The pixels of a track's N masks of one size, one below the other in each column, by frames, columns and rows.

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
        tops: `(columns,)` of the uppermost interval of each column; 0 where there is none.
        bottoms: `(columns,)` likewise; its complement (`~`) where others follow below.
        seconds: `(columns,)` index of the one below it, where there is one.
        continues: `(R,)` the next interval is in the same column.
        fragmented: most columns have many.
    """

    intervals: Intervals
    tops: NDArray[np.int32]
    bottoms: NDArray[np.int32]
    seconds: NDArray[np.int32]
    continues: NDArray[np.bool_]
    fragmented: bool


def cut_into_intervals(tube: Tube, size: tuple[int, int], frames: int) -> Intervals:
    """Of the masks with this (height, width), which has pixels, in the first so many frames."""
    height, width = size
    starts, stops, counts, places = tube.starts, tube.stops, tube.counts, tube.frames
    used = (places < frames) & (tube.sizes == size).all(1)
    if not used.all():
        runs = np.repeat(used, counts)
        starts, stops, counts, places = starts[runs], stops[runs], counts[used], places[used]
    columns = starts // height
    if columns.size and columns.max() == width:  # an empty run after the last pixel
        columns[columns == width] -= 1
    tops = starts - columns * height
    bottoms = tops + (stops - starts)
    if bottoms.size and bottoms.max() > height:
        columns, tops, bottoms, counts = _split(columns, tops, bottoms, counts, height)
    return Intervals(places, counts, np.repeat(places * width, counts) + columns, tops, bottoms)


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
    """Prepare one track to be compared with others; so many columns are there in all frames."""
    key = intervals.columns
    tops, bottoms = np.zeros((2, columns), np.int32)
    tops[key], bottoms[key] = intervals.tops, intervals.bottoms
    continues = np.zeros(len(key), np.bool_)
    np.equal(key[1:], key[:-1], out=continues[:-1])
    followed = np.flatnonzero(continues)
    uppermost = followed[np.diff(followed, prepend=-2) > 1]
    tops[key[uppermost]], bottoms[key[uppermost]] = intervals.tops[uppermost], ~intervals.bottoms[uppermost]
    seconds = np.empty(columns, np.int32)
    seconds[key[uppermost]] = uppermost + 1
    drawn = len(key) - len(followed)
    return Columns(intervals, tops, bottoms, seconds, continues, len(key) > MOST_IN_A_COLUMN * drawn)


def shared_pixels(one: Intervals, other: Columns, height: int) -> int:
    """The size of the intersection of two tracks' masks of the same frames and size."""
    if other.fragmented:
        return _shared_by_interpolation(one, other.intervals, height)
    other_tops, other_bottoms = other.tops.take(one.columns), other.bottoms.take(one.columns)
    several = np.flatnonzero(other_bottoms < 0)
    other_bottoms[several] = ~other_bottoms[several]
    shared = _shared_rows(one.tops, one.bottoms, other_tops, other_bottoms, height)
    tops, bottoms, places = one.tops[several], one.bottoms[several], other.seconds.take(one.columns[several])
    while places.size:
        rows = other.intervals.tops.take(places), other.intervals.bottoms.take(places)
        shared += _shared_rows(tops, bottoms, *rows, height)
        further = np.flatnonzero(other.continues.take(places))
        tops, bottoms, places = tops[further], bottoms[further], places[further] + 1
    return shared


def _shared_rows(
    tops: NDArray[np.int32],
    bottoms: NDArray[np.int32],
    other_tops: NDArray[np.int32],
    other_bottoms: NDArray[np.int32],
    height: int,
) -> int:
    highest = np.maximum(tops, other_tops)
    lowest = np.minimum(bottoms, other_bottoms)
    rows = np.maximum(lowest, highest, out=lowest)  # sooner than a maximum with 0 of their difference
    rows -= highest
    fits = len(rows) * height < 2**31
    return int(rows.sum(dtype=np.int32 if fits else np.int64))


def _shared_by_interpolation(one: Intervals, other: Intervals, height: int) -> int:
    """With all columns stacked to one, in which pixels are counted: their number grows within intervals only."""
    ends, other_ends = (
        (np.stack((part.tops, part.bottoms), 1) + part.columns[:, None] * height).astype(np.float64)
        for part in (one, other)
    )
    pixels = np.zeros(other_ends.shape)
    pixels[:, 1] = other.bottoms - other.tops
    in_order = np.maximum.accumulate(other_ends.ravel())  # an empty interval may lie within the one before it
    up_to = np.interp(ends, in_order, pixels.ravel().cumsum())
    return round(float((up_to[:, 1] - up_to[:, 0]).sum()))
