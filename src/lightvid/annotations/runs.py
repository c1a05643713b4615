"""COCO's compressed run lengths of many masks at once.

A mask is read down its columns as runs of zeros and ones in turn, the first of zeros. From the fourth on, a run is
stored as its difference to the run two before. A number is written in characters of 5 bits each, the lowest first, as
their codes above "0"; 32 is added while more of the number follow, and the highest bit of the last one is the sign.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

READABLE = re.compile("[0-o]*[0-O]")
MORE = ord("P")
"""From this character on, more of the number follow."""


class Runs(NamedTuple):
    """The ones of N masks.

    Attributes:
        starts: `(R,)` int32, pixels of the mask before each run of ones. Where a mask ends in zeros, an empty run
            follows, at the last pixel of the run before it, or where that starts if it is empty, too.
        stops: `(R,)` int32, likewise of its end.
        counts: `(N,)` how many of the R belong to each mask; at least one.
        areas: `(N,)` int64, pixels of ones.
        totals: `(N,)` int64, pixels of all runs together; -1 for a text that is no runs.
    """

    starts: NDArray[np.int32]
    stops: NDArray[np.int32]
    counts: NDArray[np.int64]
    areas: NDArray[np.int64]
    totals: NDArray[np.int64]


def read_runs(texts: Sequence[str]) -> Runs:
    """The runs that N texts describe.

    Best for some 100 000 characters in a call, which stay in the cache.
    """
    if not texts:
        none = np.zeros(0, np.int64)
        return Runs(none.astype(np.int32), none.astype(np.int32), none, none, none)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    codes = _codes(texts)
    if not _all_readable(codes, lengths):
        readable = np.array([READABLE.fullmatch(text) is not None for text in texts])
        if not readable.all():
            runs = read_runs([text if good else "0" for text, good in zip(texts, readable, strict=True)])
            return runs._replace(totals=np.where(readable, runs.totals, -1))
    numbers = _cumulative_numbers(codes)
    ends = np.flatnonzero(codes < MORE)
    last = np.searchsorted(ends, np.cumsum(lengths + 1) - 1)
    # each text is followed by a "0": one number more, which makes their count even where the mask ends in zeros
    complete = np.diff(last, prepend=-1) % 2 == 1
    if complete.any():
        ends = np.delete(ends, last[complete])
        last -= np.cumsum(complete)
    return _integrate(numbers.take(ends), last, complete)


def _codes(texts: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(("0".join(texts) + "0").encode("utf-8", "surrogatepass"), np.uint8)


def _all_readable(codes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> bool:
    if len(codes) != lengths.sum() + len(lengths) or lengths.min() == 0:
        return False
    in_range = codes.min() >= ord("0") and codes.max() <= ord("o")
    return bool(in_range and (codes[np.cumsum(lengths + 1) - 2] < MORE).all())


def _cumulative_numbers(codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The sum of all that is written up to each character. Sums may wrap around; what matters are their differences."""
    more = codes >= MORE
    digits = (codes & 31).view(np.int8)
    digits -= 16  # signed, as it is in the last character
    digits += ((codes & (codes >> 1)) & 32).view(np.int8)  # unsigned in the others: 32 for codes from 96 on
    after_two = more[:-2] & more[1:-1]
    short = digits.astype(np.int16)  # holds numbers of up to three characters, which nearly all are
    short[1:] *= _32_where(more[:-1])
    short[2:] *= _32_where(after_two)
    numbers = short.astype(np.int32)
    place, later = 3, np.flatnonzero(after_two[:-1] & more[2:-1]) + 3
    while later.size:
        numbers[later] <<= 5
        place += 1
        later = later[later >= place]
        later = later[more[later - place]]
    return np.cumsum(numbers, dtype=np.int32)


def _32_where(flags: NDArray[np.bool_]) -> NDArray[np.int8]:
    """32 or 1."""
    return flags.view(np.int8) * np.int8(31) + np.int8(1)


def _integrate(sums: NDArray[np.int32], last: NDArray[np.int64], complete: NDArray[np.bool_]) -> Runs:
    """From the sums of the numbers, over all masks, up to each run.

    Within a mask, the sum of the numbers from the second one on is the length of a run and of the run before it. Added
    up over every second run this gives where the runs end: those of zeros, and apart from them those of ones.

    Args:
        sums: `(2 R,)`, overwritten.
        last: `(N,)` index of each mask's last run.
        complete: `(N,)` whether this belongs to the mask, and does not merely close it.
    """
    first = np.concatenate(([0], last[:-1] + 1))
    counts = (last + 1 - first) // 2
    before = sums[first]
    zeros = before - np.concatenate((np.zeros(1, np.int32), sums[last[:-1]]))
    sums -= np.repeat(before, last + 1 - first)
    sums[first] = zeros
    sums[first + 1] += zeros
    starts, stops = (_restarting_cumsum(sums[parity::2], last // 2, counts) for parity in (0, 1))
    first, last = first // 2, last // 2
    totals = np.where(complete, stops[last], starts[last]).astype(np.int64)
    stops[last] = totals
    areas = np.add.reduceat(stops - starts, first, dtype=np.int64)
    totals[_negative(starts, stops, first)] = -1
    closing = last[~complete]
    starts[closing] = stops[closing] = np.where(
        closing > first[~complete], np.maximum(stops[closing - 1] - 1, starts[closing - 1]), 0
    )
    return Runs(starts, stops, counts, areas, totals)


def _restarting_cumsum(
    values: NDArray[np.int32], last: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int32]:
    sums = np.cumsum(values, dtype=np.int32)
    sums -= np.repeat(np.concatenate((np.zeros(1, np.int32), sums[last[:-1]])), counts)
    return sums


def _negative(starts: NDArray[np.int32], stops: NDArray[np.int32], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """The masks where a run has less than no pixels."""
    negative = stops < starts
    between = starts[1:] < stops[:-1]
    between[first[1:] - 1] = False
    negative[1:] |= between
    negative[first] |= starts[first] < 0
    return np.searchsorted(first, np.flatnonzero(negative), side="right") - 1
