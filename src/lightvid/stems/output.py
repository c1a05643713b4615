"""What every stem gives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class StemOutput(NamedTuple):
    """Tokens for the backbone, and what the head needs besides them.

    Attributes:
        tokens: `(B, T, H, W, C)`.
        features: `(B, T, h, w, c)`, a finer map that goes around the backbone to the head; None if it needs none.
    """

    tokens: Tensor
    features: Tensor | None = None


class PyramidOutput(NamedTuple):
    """Tokens for the backbone, and the maps of an image backbone for the heads.

    Attributes:
        tokens: `(B, T, H, W, C)`.
        features: maps `(B * T, c, h, w)`, the finest first.
        padding: `(B, T, H, W)` bool, True for tokens that are no part of the clip; None if all are.
    """

    tokens: Tensor
    features: list[Tensor]
    padding: Tensor | None = None
