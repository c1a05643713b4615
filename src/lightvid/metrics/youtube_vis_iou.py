"""The overlap of tracks in space and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from lightvid.annotations.rle import RLE
from lightvid.metrics.youtube_vis_tracks import AnnotatedTrack, PredictedTrack

Track: TypeAlias = PredictedTrack | AnnotatedTrack

FRAMES_A_CALL = 32
"""That are compared at once; the memory that a call needs grows with its square."""


def spatio_temporal_iou(first: Sequence[Track], second: Sequence[Track], *, least: float = 0.0) -> NDArray[np.float64]:
    """Summed intersections over summed unions of the masks of all frames, `(N, M)`; 0 where both are empty.

    Video Instance Segmentation, Yang et al., ICCV 2019, equation 1.
    As in the published evaluation, two tracks are compared up to the end of the shorter one, and a frame where their
    masks differ in size counts for neither sum.

    Args:
        first: N tracks.
        second: M tracks.
        least: pairs below it may come as 0, which spares comparing the masks of most. Neither areas nor the boxes
            around the masks let such a pair reach it.
    """
    frames = min(max(len(track.masks) for track in tracks) for tracks in (first, second))
    pixels_1, pixels_2 = _pixels(first, frames), _pixels(second, frames)
    sums = _sums_to_the_shorter_end(first, second, pixels_1, pixels_2)
    most = np.minimum(pixels_1[:, None], pixels_2)
    other_size = _other_size(first, second, frames)
    if other_size is not None:
        sums -= np.where(other_size, pixels_1[:, None] + pixels_2, 0).sum(-1)
        most[other_size] = 0
    near = _ratio(most.sum(-1), sums) >= least
    # finding boxes takes half as long as comparing masks: it pays for tracks with several near ones
    several = near.sum(1) > 1
    boxes_1, boxes_2 = _boxes(first, pixels_1, several), _boxes(second, pixels_2, near[several].any(0))
    most[several] = np.minimum(most[several], _box_intersections(boxes_1[several], boxes_2))
    near &= _ratio(most.sum(-1), sums) >= least
    most[~near] = 0
    return _ratio(_intersections(first, second, most > 0), sums)


def _pixels(tracks: Sequence[Track], frames: int) -> NDArray[np.float64]:
    pixels = np.zeros((len(tracks), frames))
    for row, track in enumerate(tracks):
        pixels[row, : len(track.pixels)] = track.pixels[:frames]
    return pixels


def _sums_to_the_shorter_end(
    first: Sequence[Track], second: Sequence[Track], pixels_1: NDArray[np.float64], pixels_2: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pixels of both tracks of each pair, in the frames that both have."""
    lengths = ([min(len(track.masks), pixels_1.shape[1]) for track in tracks] for tracks in (first, second))
    ends = np.minimum.outer(*lengths)
    cumulative_1, cumulative_2 = (np.pad(pixels, ((0, 0), (1, 0))).cumsum(1) for pixels in (pixels_1, pixels_2))
    rows, columns = np.ogrid[: len(first), : len(second)]
    return cumulative_1[rows, ends] + cumulative_2[columns, ends]


def _other_size(first: Sequence[Track], second: Sequence[Track], frames: int) -> NDArray[np.bool_] | None:
    """`(N, M, frames)`: both masks are there and differ in size; None where all have one size."""
    sizes = {tuple(mask["size"]) for track in (*first, *second) for mask in track.masks if mask is not None}
    if len(sizes) <= 1:
        return None
    numbers = {size: number for number, size in enumerate(sizes, start=1)}
    sizes_1, sizes_2 = (np.zeros((len(tracks), frames), np.int64) for tracks in (first, second))
    for tracks, found in ((first, sizes_1), (second, sizes_2)):
        for row, track in enumerate(tracks):
            for frame, mask in enumerate(track.masks[:frames]):
                found[row, frame] = 0 if mask is None else numbers[tuple(mask["size"])]
    one, other = sizes_1[:, None], sizes_2
    return (one > 0) & (other > 0) & (one != other)


def _ratio(intersections: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    unions = sums - intersections
    return np.divide(intersections, unions, out=np.zeros_like(sums), where=unions > 0)


def _boxes(tracks: Sequence[Track], pixels: NDArray[np.float64], wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`(N, frames, 4)` left, top, right and bottom of masks with pixels; zeros elsewhere."""
    boxes = np.zeros((*pixels.shape, 4))
    rows, places = np.nonzero((pixels > 0) & wanted[:, None])
    if len(rows):
        masks = [tracks[row].masks[frame] for row, frame in zip(rows.tolist(), places.tolist(), strict=True)]
        boxes[rows, places] = coco.toBbox(masks)
        boxes[..., 2:] += boxes[..., :2]
    return boxes


def _box_intersections(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, M, frames)` pixels."""
    starts = np.maximum(first[:, None, :, :2], second[..., :2])
    ends = np.minimum(first[:, None, :, 2:], second[..., 2:])
    sides = np.maximum(ends - starts, 0)
    return sides[..., 0] * sides[..., 1]


def _intersections(first: Sequence[Track], second: Sequence[Track], compared: NDArray[np.bool_]) -> NDArray[np.float64]:
    """`(N, M)` pixels shared in the `(N, M, frames)` that are compared, where both have a mask of one size."""
    intersections = np.zeros(compared.shape[:2])
    for column, track in enumerate(second):
        for start in range(0, compared.shape[2], FRAMES_A_CALL):
            rows, frames = np.nonzero(compared[:, column, start : start + FRAMES_A_CALL])
            if len(rows):
                shared = _shared_pixels(first, rows.tolist(), track, frames + start)
                intersections[:, column] += np.bincount(rows, shared, len(first))
    return intersections


def _shared_pixels(
    tracks: Sequence[Track], rows: list[int], other: Track, frames: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Of each of the tracks' rows with the other one, in the frame that belongs to the row."""
    other_frames, columns = np.unique(frames, return_inverse=True)
    pairs = list(zip(rows, frames.tolist(), strict=True))
    masks = _kept_apart((tracks[row].masks[frame], frame) for row, frame in pairs)
    other_masks = _kept_apart((other.masks[frame], frame) for frame in other_frames.tolist())
    iou = coco.iou(masks, other_masks, [0] * len(other_masks))[np.arange(len(rows)), columns]
    sums = np.array([tracks[row].pixels[frame] for row, frame in pairs]) + other.pixels[frames]
    # the areas and the ratio give the intersection back: i = iou (a + b) / (1 + iou), exact once rounded
    return np.rint(iou * sums / (1 + iou))


def _kept_apart(masks: Iterable[tuple[RLE | None, int]]) -> list[RLE]:
    """With the frame in the place of the width: pycocotools does not compare masks of different sizes."""
    return [{"size": [mask["size"][0], frame + 1], "counts": mask["counts"]} for mask, frame in masks if mask]
