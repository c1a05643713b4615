"""One prediction for each frame from those of all windows that restore it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Blend = Literal["triangular", "uniform"]


def blend_weights(length: int, kind: Blend) -> list[float]:
    """Weights of a window's predictions.

    Args:
        length: frames of the window.
        kind: "triangular" falls linearly from the middle to both ends, so that one window gives way to the next frame
            by frame; "uniform" weighs all the same.
    """
    if kind == "uniform":
        return [1.0] * length
    return [float(min(place + 1, length - place)) for place in range(length)]


class BlendedFrames:
    """Running weighted sums of predictions, in float32, of those frames only that are not finished.

    Args:
        kind: see `blend_weights`.
    """

    def __init__(self, kind: Blend) -> None:
        self.kind = kind
        self._sums: dict[int, tuple[Tensor, float]] = {}

    def add(self, indices: Sequence[int], predictions: Tensor) -> None:
        """Add what one window predicts: frames `(T, 3, H, W)` of these numbers."""
        weights = blend_weights(len(indices), self.kind)
        for index, weight, prediction in zip(indices, weights, predictions.float(), strict=True):
            weighted = prediction * weight
            if index in self._sums:
                total, weight_before = self._sums[index]
                weighted, weight = weighted + total, weight + weight_before
            self._sums[index] = weighted, weight

    def take(self, index: int) -> Tensor | None:
        """The mean `(3, H, W)` of a frame, which is forgotten; None if no window has predicted it."""
        if index not in self._sums:
            return None
        total, weight = self._sums.pop(index)
        return total / weight


def to_bytes(prediction: Tensor) -> Tensor:
    """`(3, H, W)` in [-1, 1] to `(H, W, 3)` uint8, to the nearest grey level."""
    return ((prediction + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(0, -1)
