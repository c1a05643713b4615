"""The masks of tracks as run lengths, decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightvid.annotations.result_checks import damage
from lightvid.annotations.rle import RLE
from lightvid.annotations.runs import read_runs

CHARACTERS_A_CALL = 100_000
"""That are decoded at once: few calls, within the processor's cache."""


class Tube(NamedTuple):
    """The N masks of one track, in the order of the frames; their R runs of ones as `lightvid.annotations.runs.Runs`.

    Attributes:
        length: frames, with a mask or without.
        frames: `(N,)` where it has masks.
        sizes: `(N, 2)` height and width.
        areas: `(N,)` pixels.
        filled: `(N,)` False where the run lengths are damaged, they do not fill the size.
        counts: `(N,)` runs of each mask.
        starts: `(R,)` pixels of the mask before the run.
        stops: `(R,)` pixels of the mask up to the end of the run.
    """

    length: int
    frames: NDArray[np.int64]
    sizes: NDArray[np.int64]
    areas: NDArray[np.int64]
    filled: NDArray[np.bool_]
    counts: NDArray[np.int64]
    starts: NDArray[np.int32]
    stops: NDArray[np.int32]

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
    frames = [[frame for frame, mask in enumerate(track) if mask is not None] for track in tracks]
    masks = [mask for track in tracks for mask in track if mask is not None]
    runs = read_runs([mask["counts"] for mask in masks])
    sizes = _sizes([mask["size"] for mask in masks])
    filled = runs.totals == sizes.prod(1)
    run_ends = np.concatenate(([0], runs.counts.cumsum())).tolist()
    tubes, first = [], 0
    for track, visible in zip(tracks, frames, strict=True):
        these = slice(first, first + len(visible))
        ones = slice(run_ends[these.start], run_ends[these.stop])
        arrays = (sizes[these], runs.areas[these], filled[these], runs.counts[these], runs.starts[ones])
        tubes.append(Tube(len(track), np.array(visible, np.int64), *arrays, runs.stops[ones]))
        first = these.stop
    return tubes


def _sizes(pairs: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """`(N, 2)`, sooner where all are the same, as they nearly always are."""
    if len(pairs) > 1 and pairs.count(pairs[0]) == len(pairs):
        return np.tile(np.array(pairs[0], np.int64), (len(pairs), 1))
    return np.array(pairs, np.int64).reshape(-1, 2)
