"""The overlap of tracks in space and time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from lightvid.annotations.rle import RLE
from lightvid.metrics.youtube_vis_tracks import Masks


def spatio_temporal_iou(
    first: Sequence[Masks], second: Sequence[Masks], areas_1: NDArray[np.float64], areas_2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Summed intersections over summed unions of the masks of all frames, `(N, M)`; 0 where both are empty.

    Video Instance Segmentation, Yang et al., ICCV 2019, equation 1.
    As in the published evaluation, two tracks are compared up to the end of the shorter one, and a frame where their
    masks differ in size counts for neither sum.

    Args:
        first: the masks of N tracks.
        second: the masks of M tracks.
        areas_1: their pixels, see `track_areas`.
        areas_2: likewise.
    """
    sums = _sums_to_the_shorter_end(first, second, areas_1, areas_2)
    intersections = np.zeros_like(sums)
    one_size = len({tuple(mask["size"]) for masks in (*first, *second) for mask in masks if mask is not None}) <= 1
    for frame in range(min(areas_1.shape[1], areas_2.shape[1])):
        rows, masks_1 = _visible(first, frame)
        columns, masks_2 = _visible(second, frame)
        if not masks_1 or not masks_2:
            continue
        pairs = areas_1[rows, frame][:, None] + areas_2[columns, frame]
        iou = coco.iou(masks_1, masks_2, [0] * len(masks_2))
        here = np.ix_(rows, columns)
        if not one_size:
            same = _same_size(masks_1, masks_2)
            iou = np.where(same, iou, 0)
            sums[here] -= np.where(same, 0, pairs)
        # the areas and the ratio give the intersection back: i = iou (a + b) / (1 + iou), exact once rounded
        intersections[here] += np.rint(iou * pairs / (1 + iou))
    unions = sums - intersections
    return np.divide(intersections, unions, out=np.zeros_like(sums), where=unions > 0)


def _sums_to_the_shorter_end(
    first: Sequence[Masks], second: Sequence[Masks], areas_1: NDArray[np.float64], areas_2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels of both tracks of each pair, in the frames that both have."""
    ends = np.minimum.outer([len(masks) for masks in first], [len(masks) for masks in second])
    cumulative_1, cumulative_2 = (np.pad(areas, ((0, 0), (1, 0))).cumsum(1) for areas in (areas_1, areas_2))
    rows, columns = np.ogrid[: len(first), : len(second)]
    return cumulative_1[rows, ends] + cumulative_2[columns, ends]


def _visible(tracks: Sequence[Masks], frame: int) -> tuple[list[int], list[RLE]]:
    rows, visible = [], []
    for row, masks in enumerate(tracks):
        mask = masks[frame] if frame < len(masks) else None
        if mask is not None:
            rows.append(row)
            visible.append(mask)
    return rows, visible


def _same_size(first: Sequence[RLE], second: Sequence[RLE]) -> NDArray[np.bool_]:
    sizes_1, sizes_2 = (np.array([mask["size"] for mask in masks]) for masks in (first, second))
    return (sizes_1[:, None] == sizes_2).all(-1)
