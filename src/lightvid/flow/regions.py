"""Regions of an image: boxes, margins, sampling along positions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice]
Region = NDArray[np.bool_]
Field = NDArray[np.float32]
Image = NDArray[np.uint8]


def box_around(region: Region, *, margin: int) -> Box:
    """The box of a region that is not empty, widened by a margin as far as the image goes."""
    rows, columns = (_extent(np.asarray(region.any(axis=axis)), margin) for axis in (1, 0))
    return rows, columns


def _extent(occupied: Region, margin: int) -> slice:
    found = np.flatnonzero(occupied)
    return slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, len(occupied)))


def widened(region: Region, radius: int) -> Region:
    """The region with everything within `radius` pixels of it."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(region.view(np.uint8), disc).view(np.bool_)


def pixel_positions(height: int, width: int) -> Field:
    """`(height, width, 2)`: x and y of each pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def sample(image: Image | Field, positions: Field) -> Field:
    """Values of an image between its pixels, bilinear; its border goes on beyond it.

    Args:
        image: `(H, W)` or `(H, W, C)`, uint8 or float32. Those of a uint8 image are rounded.
        positions: `(h, w, 2)`, x first.

    Returns:
        `(h, w)` or `(h, w, C)`.
    """
    return _remapped(image, positions, cv2.INTER_LINEAR)


def sample_cubic(image: Image, positions: Field) -> Field:
    """As `sample`, sharper and not rounded, for `(H, W, C)` images; overshoots their range a little."""
    box = _box_around_positions(positions, *image.shape[:2])
    positions = positions - np.array([box[1].start, box[0].start], np.float32)
    return _remapped(image[box].astype(np.float32), positions, cv2.INTER_CUBIC)


def channel_mean(image: Field) -> Field:
    """Mean over the channels of `(H, W, C)`, `(H, W)`; far faster than NumPy's over a short last axis."""
    channels = image.shape[-1]
    return np.asarray(cv2.transform(image, np.full((1, channels), 1 / channels, np.float32)), np.float32)


def length(vectors: Field) -> Field:
    """Euclidean length of `(H, W, 2)` vectors."""
    return np.hypot(vectors[..., 0], vectors[..., 1])


def inside(positions: Field, height: int, width: int) -> Region:
    """Which of `(h, w, 2)` positions lie in the image."""
    x, y = positions[..., 0], positions[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _remapped(image: Image | Field, positions: Field, interpolation: int) -> Field:
    # OpenCV's type hints know only of positions in two arrays.
    values = cv2.remap(image, positions, None, interpolation, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(values, np.float32)


def _box_around_positions(positions: Field, height: int, width: int) -> Box:
    """The part of an image that cubic interpolation at `positions` looks at, at least one pixel of it."""
    planes = positions[..., 0], positions[..., 1]  # one by one, as NumPy is slow over leading axes
    across, down = (
        slice(int(min(max(plane.min() - 2, 0), side - 1)), int(min(max(plane.max() + 4, 1), side)))
        for plane, side in zip(planes, (width, height), strict=True)
    )
    return down, across
