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
