"""The overlap of tracks in space and time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.youtube_vis_columns import cut_into_intervals, index_columns, shared_pixels
from lightvid.metrics.youtube_vis_tubes import Tube

Size: TypeAlias = tuple[int, int]
"""Height and width."""


def spatio_temporal_iou(first: Sequence[Tube], second: Sequence[Tube], *, least: float = 0.0) -> NDArray[np.float64]:
    """Summed intersections over summed unions of the masks of all frames, `(N, M)`; 0 where both are empty.

    Video Instance Segmentation, Yang et al., ICCV 2019, equation 1.
    As in the published evaluation, two tracks are compared up to the end of the shorter one, and a frame where their
    masks differ in size counts for neither sum.

    Args:
        first: N tracks.
        second: M tracks.
        least: pairs below it may come as 0, which spares comparing the masks of those whose areas or boxes
            rule it out.
    """
    frames = min(max(tube.length for tube in tubes) for tubes in (first, second))
    pixels_1, pixels_2 = _pixels(first, frames), _pixels(second, frames)
    sums = _sums_to_the_shorter_end(first, second, pixels_1, pixels_2)
    most = np.minimum(pixels_1[:, None], pixels_2)
    sizes = _sizes([*first, *second])
    if len(sizes) > 1:
        other_size = _other_size(first, second, frames)
        sums -= np.where(other_size, pixels_1[:, None] + pixels_2, 0).sum(-1)
        most[other_size] = 0
    near = (_ratio(most.sum(-1), sums) >= least) & (most > 0).any(-1)
    most = np.minimum(most, _box_intersections(_boxes(first, frames), _boxes(second, frames)))
    near &= _ratio(most.sum(-1), sums) >= least
    intersections = np.zeros(near.shape)
    for size in filter(all, sizes):  # where there are pixels
        intersections += _intersections(first, second, near, size, frames)
    return _ratio(intersections, sums)


def _sizes(tubes: Sequence[Tube]) -> set[Size]:
    sizes = np.concatenate([tube.sizes for tube in tubes])
    different = sizes[:1] if (sizes == sizes[:1]).all() else sizes
    return {(height, width) for height, width in different.tolist()}


def _pixels(tubes: Sequence[Tube], frames: int) -> NDArray[np.float64]:
    pixels = np.zeros((len(tubes), frames))
    for row, tube in enumerate(tubes):
        pixels[row, : tube.length] = tube.pixels()[:frames]
    return pixels


def _sums_to_the_shorter_end(
    first: Sequence[Tube], second: Sequence[Tube], pixels_1: NDArray[np.float64], pixels_2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels of both tracks of each pair, in the frames that both have."""
    lengths = ([min(tube.length, pixels_1.shape[1]) for tube in tubes] for tubes in (first, second))
    ends = np.minimum.outer(*lengths)
    cumulative_1, cumulative_2 = (
        np.concatenate((np.zeros((len(pixels), 1)), pixels.cumsum(1)), 1) for pixels in (pixels_1, pixels_2)
    )
    return cumulative_1[np.arange(len(first))[:, None], ends] + cumulative_2[np.arange(len(second)), ends]


def _other_size(first: Sequence[Tube], second: Sequence[Tube], frames: int) -> NDArray[np.bool_]:
    """`(N, M, frames)`: both masks are there and differ in size."""
    sizes_1, sizes_2 = (np.zeros((len(tubes), frames, 2), np.int64) for tubes in (first, second))
    for tubes, sizes in ((first, sizes_1), (second, sizes_2)):
        for row, tube in enumerate(tubes):
            inside = tube.frames < frames
            sizes[row, tube.frames[inside]] = tube.sizes[inside]
    one, other = sizes_1[:, None], sizes_2
    return one.any(-1) & other.any(-1) & (one != other).any(-1)


def _ratio(intersections: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    unions = sums - intersections
    return np.divide(intersections, unions, out=np.zeros_like(sums), where=unions > 0)


def _boxes(tubes: Sequence[Tube], frames: int) -> NDArray[np.float64]:
    """`(tracks, frames, 4)` as of a tube; without a side where there is no mask."""
    boxes = np.zeros((len(tubes), frames, 4))
    for row, tube in enumerate(tubes):
        inside = slice(None) if tube.length <= frames else tube.frames < frames
        boxes[row, tube.frames[inside]] = tube.boxes[inside]
    return boxes


def _box_intersections(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, M, frames)` pixels."""
    starts = np.maximum(first[:, None, :, :2], second[..., :2])
    ends = np.minimum(first[:, None, :, 2:], second[..., 2:])
    sides = np.maximum(ends - starts, 0)
    return sides[..., 0] * sides[..., 1]


def _intersections(
    first: Sequence[Tube], second: Sequence[Tube], near: NDArray[np.bool_], size: Size, frames: int
) -> NDArray[np.float64]:
    """`(N, M)` pixels that near pairs share in the frames where both have a mask of this size."""
    intersections = np.zeros(near.shape)
    cut = {row: cut_into_intervals(first[row], size, frames) for row in np.flatnonzero(near.any(1)).tolist()}
    height, width = size
    for place in np.flatnonzero(near.any(0)).tolist():
        columns = index_columns(cut_into_intervals(second[place], size, frames), frames * width, height)
        for row in np.flatnonzero(near[:, place]).tolist():
            intersections[row, place] = shared_pixels(cut[row], columns, height)
    return intersections
