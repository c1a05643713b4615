"""Filling what is unknown in an image or a field as smoothly as its surroundings allow."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.flow.regions import box_around

Field = NDArray[np.float32]

CROSS_MEAN = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4
# Relaxation steps at each resolution. The coarser resolution has solved what is smooth, so few remain.
SWEEPS = 6
SURROUNDINGS = 16


def membrane(values: NDArray[Any], unknown: NDArray[np.bool_]) -> Field:
    """Fill unknown places with a membrane stretched between the known ones: Laplace's equation, coarse to fine.

    Args:
        values: `(H, W, C)`; what it holds at unknown places is not looked at.
        unknown: `(H, W)`.

    Returns:
        `(H, W, C)` float32, equal to `values` where known; zeros if nothing is known.
    """
    filled = values.astype(np.float32)
    if not unknown.any():
        return filled
    box = box_around(unknown, margin=SURROUNDINGS)
    if unknown[box].all():
        box = (slice(None), slice(None))
    known = ~unknown[box]
    filled[box] = _solve(np.where(known[..., None], filled[box], 0), known.astype(np.float32))
    return filled


def _solve(values: Field, known: Field) -> Field:
    """`values` are zero where `known` is zero."""
    height, width = known.shape
    if known.all() or max(height, width) <= 2:
        mean = values.sum((0, 1)) / max(known.sum(), 1)
        return np.where(known[..., None] > 0, values, mean)
    coarse = _interpolated(_solve(*_halved(values, known)), height, width)
    fixed = known[..., None] > 0
    filled = np.where(fixed, values, coarse)
    for _ in range(SWEEPS):
        relaxed = _channels_last(cv2.filter2D(filled, -1, CROSS_MEAN, borderType=cv2.BORDER_REPLICATE))
        filled = np.where(fixed, values, relaxed)
    return filled


def _halved(values: Field, known: Field) -> tuple[Field, Field]:
    """Means over the known ones of 2 x 2 places each, and where there is any."""
    height, width = known.shape
    even = 0, height % 2, 0, width % 2
    size = (width + 1) // 2, (height + 1) // 2
    share = cv2.resize(cv2.copyMakeBorder(known, *even, cv2.BORDER_CONSTANT), size, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(cv2.copyMakeBorder(values, *even, cv2.BORDER_CONSTANT), size, interpolation=cv2.INTER_AREA)
    means = _channels_last(sums) / np.maximum(share, 1e-6)[..., None]
    return np.asarray(means, np.float32), (share > 0).astype(np.float32)


def _interpolated(coarse: Field, height: int, width: int) -> Field:
    size = width + width % 2, height + height % 2
    return _channels_last(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR))[:height, :width]


def _channels_last(image: NDArray[Any]) -> Field:
    """OpenCV drops the axis of a single channel."""
    field = np.asarray(image, np.float32)
    return field if field.ndim == 3 else field[..., None]
