"""Masks as intervals of their columns, and the pixels that two of them share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_tubes import Tube

MOST_IN_A_COLUMN = 4
"""Intervals, in the mean, that are worth comparing each with each."""


class Intervals(NamedTuple):
    """The pixels of a track's masks of one size, one below the other in each column, by frames, columns and rows.

    Attributes:
        columns: `(R,)` counted through all frames, width by width.
        tops: `(R,)` first row.
        bottoms: `(R,)` one more than the last row.
    """

    columns: NDArray[np.int64]
    tops: NDArray[np.int32]
    bottoms: NDArray[np.int32]


class Columns(NamedTuple):
    """The same, to be looked up by column. Most columns hold one interval at most.

    The rows of an interval are one number, so that one look finds both ends: the first row in its lower half, the end
    in its upper half; negative where the next interval is in the same column.

    Attributes:
        intervals: as they were.
        uppermost: `(columns,)` rows of the uppermost interval of each column; 0 where there is none.
        seconds: `(columns,)` index of the one below it, where there is one.
        rows: `(R,)` of each interval.
        fragmented: most columns have many.
    """

    intervals: Intervals
    uppermost: NDArray[np.int32 | np.int64]
    seconds: NDArray[np.intp]
    rows: NDArray[np.int32 | np.int64]
    fragmented: bool


def cut_into_intervals(tube: Tube, size: tuple[int, int], frames: int) -> Intervals:
    """Of the masks with this (height, width), which has pixels, in the first so many frames."""
    intervals = Intervals(tube.columns, tube.tops, tube.bottoms)
    if tube.length > frames or not (tube.sizes == size).all():
        used = np.repeat((tube.frames < frames) & (tube.sizes == size).all(1), tube.counts)
        intervals = Intervals(*(array[used] for array in intervals))
    crossing = intervals.bottoms.size and intervals.bottoms.max() > size[0]
    return _split(intervals, size[0]) if crossing else intervals


def _split(runs: Intervals, height: int) -> Intervals:
    """An interval in each column for runs that go on in the next ones."""
    spanned = np.maximum(-(-runs.bottoms // height), 1)
    run = np.repeat(np.arange(len(spanned)), spanned)
    before = (np.arange(len(run)) - np.repeat(np.cumsum(spanned) - spanned, spanned)).astype(np.int32)
    tops = np.maximum(runs.tops[run] - before * height, 0)
    bottoms = np.minimum(runs.bottoms[run] - before * height, height)
    return Intervals(runs.columns[run] + before, tops, bottoms)


def index_columns(intervals: Intervals, columns: int, height: int) -> Columns:
    """Prepare one track to be compared with others; so many columns are there in all frames."""
    key = intervals.columns
    integer: type[np.int32 | np.int64] = np.int32 if height < 2**15 else np.int64
    rows: NDArray[np.int32 | np.int64] = intervals.bottoms.astype(integer)
    rows <<= 4 * rows.itemsize
    rows |= intervals.tops
    followed = np.flatnonzero(key[1:] == key[:-1])
    rows[followed] |= np.iinfo(integer).min
    first = followed[np.diff(followed, prepend=-2) > 1]
    uppermost, seconds = np.zeros(columns, rows.dtype), np.empty(columns, np.intp)
    uppermost[key] = rows
    uppermost[key[first]] = rows[first]
    seconds[key[first]] = first + 1
    drawn = len(key) - len(followed)
    return Columns(intervals, uppermost, seconds, rows, len(key) > MOST_IN_A_COLUMN * drawn)


def shared_pixels(one: Intervals, other: Columns, height: int) -> int:
    """The size of the intersection of two tracks' masks of the same frames and size."""
    if other.fragmented:
        return _shared_by_interpolation(one, other.intervals, height)
    rows = other.uppermost.take(one.columns)
    several = np.flatnonzero(rows < 0)
    shared = _shared_rows(one.tops, one.bottoms, rows, height)
    tops, bottoms = one.tops.take(several), one.bottoms.take(several)
    places = other.seconds.take(one.columns.take(several))
    while places.size:
        rows = other.rows.take(places)
        further = np.flatnonzero(rows < 0)
        shared += _shared_rows(tops, bottoms, rows, height)
        tops, bottoms, places = tops.take(further), bottoms.take(further), places.take(further) + 1
    return shared


def _shared_rows(
    tops: NDArray[np.int32], bottoms: NDArray[np.int32], rows: NDArray[np.int32 | np.int64], height: int
) -> int:
    """Of intervals with those that the numbers `rows`, which are overwritten, describe."""
    half = 4 * rows.itemsize
    highest = rows & (2**half - 1)
    np.maximum(highest, tops, out=highest)
    rows >>= half
    rows &= 2 ** (half - 1) - 1
    np.minimum(rows, bottoms, out=rows)
    np.maximum(rows, highest, out=rows)  # sooner than a maximum with 0 of their difference
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
