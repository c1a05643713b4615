"""Carrying masks that were painted on a few frames to all others, along optical flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from lightvid.flow.dis import dis_flow
from lightvid.inpainting.video import Frames
from lightvid.ops.warp import flows_agree

LONGER_SIDE = 640  # pixels, at which flow is estimated: small objects of small videos would be smoothed away
FRAMES_AT_ONCE = 16  # that are kept, scaled, where frames are visited backwards
SMALLEST_PART = 0.1  # of the largest; smaller ones that came apart from it are dropped
SHARPENING = 1.5  # of the mask's edge in each step, against the blur of interpolation
LEAST_OBJECT = 0.35  # of a loose mask; less than that by its colours is a failure,
MARGIN = 0.06  # then all but so narrow a margin is taken too, in parts of the side of a square of the mask's area
SQUARE = np.ones((3, 3), np.uint8)

Mask = NDArray[np.uint8]
SoftMask = NDArray[np.float32]
Read = Callable[[Sequence[int]], Frames]


def track_masks(
    read: Read, length: int, painted: Mapping[int, Mask], *, loose: bool = False, growth: int = 2
) -> Iterator[tuple[int, Mask]]:
    """Carry each painted mask forwards and backwards, up to half the way to the next painted one.

    A pixel of the next frame belongs to the object if flow leads back from it to a pixel of the object. Where forward
    and backward flow disagree, as where the object uncovers what was behind it, the mask that forward flow pushes ahead
    counts as much. The mask is carried with soft edges, so that motion of less than a pixel adds up. In memory are a
    few frames, scaled to one size.

    Args:
        read: `MaskedVideo.read`, or another that gives frames by their numbers.
        length: of the video, in frames.
        painted: `(H, W)` by frame number, non-zero = object; at least one.
        loose: they were painted with a margin, which belongs to the background and would stay behind with it. What is
            carried is the part whose colours set it apart from the surroundings (GrabCut, Rother et al., SIGGRAPH
            2004).
        growth: by how many pixels to grow the masks that were not painted, against what tracking loses.

    Yields:
        Number and mask, `(H, W)` with 1 = object, of every frame once: not in the order of the video.

    Raises:
        ValueError: nothing painted, or outside the video.
    """
    if not painted or min(painted) < 0 or max(painted) >= length:
        raise ValueError(f"expected painted masks of some of the frames 0 to {length - 1}, got {sorted(painted)}")
    numbers = sorted(painted)
    middles = [(before + after + 1) // 2 for before, after in pairwise(numbers)]
    for number, first, stop in zip(numbers, [0, *middles], [*middles, length], strict=True):
        mask = (painted[number] > 0).astype(np.uint8)
        yield number, mask
        for way in (range(number, stop), range(number, first - 1, -1)):
            for index, soft in _carry(mask, _scaled_frames(read, way), way, loose=loose):
                yield index, _finished(soft, mask.shape, growth)


def _carry(mask: Mask, frames: Iterator[Frames], way: Sequence[int], *, loose: bool) -> Iterator[tuple[int, SoftMask]]:
    """The mask of the way's first frame, moved to the others one after the other."""
    before = next(frames)
    soft: SoftMask = np.asarray(_resize(mask.astype(np.float32), before.shape[:2]), np.float32)
    if loose and len(way) > 1:
        soft *= _object_within((soft > 0.5).astype(np.uint8), before)
    for index, frame in zip(way[1:], frames, strict=True):
        moved = _moved(soft, before, frame)
        sharp = np.clip((moved - 0.5) * SHARPENING + 0.5, 0, 1).astype(np.float32)
        soft = sharp * _near_large_parts((sharp > 0.5).astype(np.uint8))
        before = frame
        yield index, soft


def _object_within(mask: Mask, frame: Frames) -> Mask:
    """The object in a mask that has a margin, `(H, W)`."""
    x, y, width, height = cv2.boundingRect(mask)
    around = max(8, max(width, height) // 4)
    part = slice(max(y - around, 0), y + height + around), slice(max(x - around, 0), x + width + around)
    labels = np.where(mask > 0, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    labels_near = np.ascontiguousarray(labels[part])
    cv2.setRNGSeed(0)  # its clusters of colours begin at random
    try:
        colours, of_both = np.ascontiguousarray(frame[part]), (np.zeros((1, 65)), np.zeros((1, 65)))
        cv2.grabCut(colours, labels_near, (0, 0, 1, 1), *of_both, 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few pixels of one kind, such as a mask of the whole frame
        return mask
    labels[part] = labels_near
    found = (labels == cv2.GC_PR_FGD).astype(np.uint8)
    if np.count_nonzero(found) >= LEAST_OBJECT * np.count_nonzero(mask):
        return found
    margin = max(1, round(MARGIN * float(np.sqrt(np.count_nonzero(mask)))))
    inner = cv2.erode(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1)))
    return np.asarray(found | inner, np.uint8)


def _moved(soft: SoftMask, before: Frames, frame: Frames) -> SoftMask:
    back, forth = (dis_flow(*pair, preset="medium") for pair in ((frame, before), (before, frame)))
    x, y = np.moveaxis(_positions(soft.shape) + back, -1, 0)
    fetched = cv2.remap(soft, x, y, cv2.INTER_LINEAR)  # 0 outside of the frame
    as_tensors = (torch.from_numpy(flow).movedim(-1, 0)[None] for flow in (back, forth))
    agree = flows_agree(*as_tensors)[0, 0].numpy()
    return np.asarray(np.where(agree, fetched, (fetched + _pushed(soft, forth)) / 2), np.float32)


def _pushed(soft: SoftMask, forth: NDArray[np.float32]) -> SoftMask:
    """Values carried along their flow, each shared among the four pixels where it arrives; 0 where little does."""
    height, width = soft.shape
    near = cv2.dilate((soft > 0).astype(np.uint8), SQUARE, iterations=2) > 0
    arrival, carried = (_positions(soft.shape) + forth)[near], soft[near]
    corner = np.floor(arrival).astype(int)
    values, weights = np.zeros(height * width), np.zeros(height * width)
    for offset in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, y = (corner + offset).T
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weight = (1 - np.abs(arrival - corner - offset)).prod(-1)[inside]
        places = y[inside] * width + x[inside]
        values += np.bincount(places, weight * carried[inside], height * width)
        weights += np.bincount(places, weight, height * width)
    mean = values / np.maximum(weights, 1e-3) * np.minimum(2 * weights, 1)
    return mean.reshape(height, width).astype(np.float32)


def _near_large_parts(mask: Mask) -> Mask:
    """1 at the connected parts that `SMALLEST_PART` leaves and 2 pixels around them, where soft edges are."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:  # the background alone
        return np.zeros_like(mask)
    areas = statistics[:, cv2.CC_STAT_AREA]
    large = areas >= SMALLEST_PART * areas[1:].max()
    large[0] = False
    return np.asarray(cv2.dilate(large[labels].astype(np.uint8), SQUARE, iterations=2), np.uint8)


def _finished(soft: SoftMask, size: tuple[int, ...], growth: int) -> Mask:
    """The mask at the video's size, without gaps in it, grown."""
    large = cv2.resize(soft, size[::-1], interpolation=cv2.INTER_LINEAR)
    mask = cv2.morphologyEx((large > 0.5).astype(np.uint8), cv2.MORPH_CLOSE, SQUARE)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(mask), outlines, -1, 1, cv2.FILLED)
    steps = round(growth * max(1.0, max(size) / LONGER_SIDE))  # where flow was scaled up, so are its errors
    return np.asarray(cv2.dilate(filled, SQUARE, iterations=steps), np.uint8)


def _scaled_frames(read: Read, way: range) -> Iterator[Frames]:
    """The frames of a way at the size for flow. Backwards they are read in short forward runs, as videos are stored."""
    if way.step > 0:
        yield from (_scaled(read([index])[0]) for index in way)
        return
    for first in range(0, len(way), FRAMES_AT_ONCE):
        part = way[first : first + FRAMES_AT_ONCE]
        yield from reversed([_scaled(read([index])[0]) for index in reversed(part)])


def _scaled(frame: Frames) -> Frames:
    scale = LONGER_SIDE / max(frame.shape[:2])
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    return np.asarray(_resize(frame, (height, width)), np.uint8)


def _resize(image: NDArray, size: tuple[int, ...]) -> NDArray:
    method = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, size[::-1], interpolation=method)


def _positions(size: tuple[int, ...]) -> NDArray[np.float32]:
    """`(H, W, 2)` pixel positions, x first."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    return np.stack((columns, rows), axis=-1)
