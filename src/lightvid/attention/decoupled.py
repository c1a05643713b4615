"""Attention through time and attention through space, each in a block of its own (DSTT, Liu et al., 2021)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lightvid.attention.full import FullAttention
from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast


class TemporalAttention(FullAttention):
    """Joint attention of the tokens of all frames inside each of `zones x zones` zones of the frame.

    DSTT alternates it with `SpatialAttention`. Zones of a grid that does not divide differ by one row or column.

    Args:
        channels: width of the tokens, divisible by `heads`.
        heads: number of heads.
        zones: zones per side of the frame.
    """

    positioned: ClassVar[bool] = False

    def __init__(self, channels: int, *, heads: int = 4, zones: int = 2) -> None:
        super().__init__(channels, heads=heads)
        if zones < 1:
            raise ConfigurationError(f"zones counts parts of a frame's side: expected at least 1, got {zones}")
        self.zones = zones

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Mix tokens `(B, T, H, W, C)` of the same zone; `holes` is not looked at."""
        height, width = x.shape[2:4]
        rows = x.tensor_split(min(self.zones, height), dim=2)
        return torch.cat([self._columns(part, min(self.zones, width)) for part in rows], dim=2)

    def _columns(self, x: Tensor, zones: int) -> Tensor:
        parts = x.tensor_split(zones, dim=3)
        return torch.cat([self._inside(part.flatten(1, 3)).view(part.shape) for part in parts], dim=3)

    def _inside(self, x: Tensor) -> Tensor:
        x = cast_for_autocast(x)
        return self.attend(x, x, x)


class SpatialAttention(FullAttention):
    """Attention between the tokens of each frame, every frame on its own."""

    positioned: ClassVar[bool] = False

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Mix tokens `(B, T, H, W, C)` of the same frame; `holes` is not looked at."""
        tokens = cast_for_autocast(x).flatten(0, 1).flatten(1, 2)
        return self.attend(tokens, tokens, tokens).view(x.shape)
