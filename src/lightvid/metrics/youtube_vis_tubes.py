"""The masks of tracks as runs in their columns, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.annotations.result_checks import damage
from lightvid.annotations.rle import RLE
from lightvid.annotations.runs import Runs, read_runs

CHARACTERS_A_CALL = 150_000
"""That are decoded at once: few calls, within the processor's cache."""


class Tube(NamedTuple):
    """The N masks of one track, in the order of the frames; their R runs of ones, column by column.

    Attributes:
        length: frames, with a mask or without.
        frames: `(N,)` where it has masks.
        sizes: `(N, 2)` height and width.
        areas: `(N,)` pixels.
        filled: `(N,)` False where the run lengths are damaged, they do not fill the size.
        boxes: `(N, 4)` that hold all pixels of each mask: left, top, right and bottom ends.
        counts: `(N,)` runs of each mask; at least one, which may be empty.
        columns: `(R,)` where the run starts, counted through all frames, width by width.
        tops: `(R,)` its first row.
        bottoms: `(R,)` one more than its last row; beyond the height, it goes on in the next columns.
    """

    length: int
    frames: NDArray[np.int64]
    sizes: NDArray[np.int64]
    areas: NDArray[np.int64]
    filled: NDArray[np.bool_]
    boxes: NDArray[np.int64]
    counts: NDArray[np.int64]
    columns: NDArray[np.int64]
    tops: NDArray[np.int32]
    bottoms: NDArray[np.int32]

    def pixels(self) -> NDArray[np.float64]:
        """`(length,)`, 0 where there is no mask."""
        pixels = np.zeros(self.length)
        pixels[self.frames] = self.areas
        return pixels

    def mean_area(self) -> float:
        """Pixels, the mean over the frames where it has any; 0 if it has none anywhere."""
        return int(self.areas.sum()) / (int(np.count_nonzero(self.areas)) or 1)

    def damage(self) -> str | None:
        """What is wrong with the first mask that is damaged; None where none is."""
        for place in np.flatnonzero(~self.filled)[:1].tolist():
            return damage(self.frames[place], *self.sizes[place].tolist())
        return None


def read_tubes(tracks: Sequence[Sequence[RLE | None]]) -> list[Tube]:
    """Decode tracks, each a mask or None for each frame; what they are `result_checks.check_masks` has seen."""
    return [tube for group in _groups(tracks) for tube in _read_group(group)]


def _groups(tracks: Sequence[Sequence[RLE | None]]) -> Iterator[list[Sequence[RLE | None]]]:
    group: list[Sequence[RLE | None]] = []
    characters = 0
    for track in tracks:
        group.append(track)
        characters += sum([len(mask["counts"]) for mask in track if mask is not None])
        if characters >= CHARACTERS_A_CALL:
            yield group
            group, characters = [], 0
    yield group


def _read_group(tracks: Sequence[Sequence[RLE | None]]) -> list[Tube]:
    frames = [_frames_with_masks(track) for track in tracks]
    masks = list(filter(None, chain.from_iterable(tracks)))
    runs = read_runs(list(map(itemgetter("counts"), masks)))
    sizes = _sizes(list(map(itemgetter("size"), masks)))
    places = np.fromiter(chain.from_iterable(frames), np.int64, len(masks))
    filled = runs.totals == sizes.prod(1)
    boxes, columns, tops, bottoms = _in_columns(runs, sizes, places)
    run_ends = np.concatenate(([0], runs.counts.cumsum())).tolist()
    tubes, first = [], 0
    for track, visible in zip(tracks, frames, strict=True):
        these = slice(first, first + len(visible))
        ones = slice(run_ends[these.start], run_ends[these.stop])
        masks_of_track = (places[these], sizes[these], runs.areas[these], filled[these], boxes[these])
        runs_of_track = (runs.counts[these], columns[ones], tops[ones], bottoms[ones])
        tubes.append(Tube(len(track), *masks_of_track, *runs_of_track))
        first = these.stop
    return tubes


def _frames_with_masks(track: Sequence[RLE | None]) -> Sequence[int]:
    return range(len(track)) if all(track) else [frame for frame, mask in enumerate(track) if mask]


def _in_columns(
    runs: Runs, sizes: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Boxes, columns, tops and bottoms as in `Tube`, of all masks at once; they are in the frames `places`."""
    if not places.size:
        return np.zeros((0, 4), np.int64), places, runs.starts, runs.stops
    heights, widths = np.maximum(sizes, 1).T.astype(np.int32)
    if (sizes == sizes[0]).all():
        height, width = heights[0], widths[0]
    else:
        height, width = np.repeat(heights, runs.counts), np.repeat(widths, runs.counts)
    within = runs.starts // height
    np.minimum(within, width - 1, out=within)  # for an empty run after the last pixel
    tops = runs.starts - within * height
    bottoms = runs.stops - runs.starts
    bottoms += tops

    last = runs.counts.cumsum() - 1
    first = last + 1 - runs.counts
    highest, lowest = np.minimum.reduceat(tops, first), np.maximum.reduceat(bottoms, first)
    ends = within[last] + np.maximum(-(-bottoms[last] // heights), 1)
    highest[lowest > heights] = 0
    boxes = np.stack((within[first], highest, ends, np.minimum(lowest, heights)), 1).astype(np.int64)
    columns = np.repeat(places * sizes[:, 1], runs.counts)
    columns += within
    return boxes, columns, tops, bottoms


def _sizes(pairs: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """`(N, 2)`, sooner where all are the same, as they nearly always are."""
    if len(pairs) > 1 and pairs.count(pairs[0]) == len(pairs):
        return np.tile(np.array(pairs[0], np.int64), (len(pairs), 1))
    return np.array(pairs, np.int64).reshape(-1, 2)
