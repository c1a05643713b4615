"""The feed-forward of FuseFormer and E2FGVI, in which neighbouring tokens exchange what their patches share."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import (
    PatchGrid,
    cast_for_autocast,
    map_frames,
    maps_to_tokens,
    overlap_count,
    soft_composition,
    soft_split,
    tokens_to_maps,
)


class FusionFeedForward(nn.Module):
    """F3N: tokens to overlapping patches, their mean on a map, and patches to tokens (FuseFormer, Sec. 3.3, ICCV 2021).

    The activation acts on the map: as published it follows the second unfolding, whose entries are the map's, so the
    function is the same and no unfolded patches exist. The map has `stride` pixels per token.

    Args:
        channels: width of the tokens.
        hidden: channels of the map.
        kernel: side of a patch in pixels of the map.
        stride: distance between patches.
        activation: "relu" (FuseFormer) or "gelu" (E2FGVI).
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int = 40,
        kernel: int = 7,
        stride: int = 3,
        activation: Literal["relu", "gelu"] = "relu",
    ) -> None:
        super().__init__()
        if activation not in ("relu", "gelu"):
            raise ConfigurationError(f"unknown activation '{activation}': choose one of relu, gelu")
        if hidden < 1:
            raise ConfigurationError(f"hidden counts channels: expected at least 1, got {hidden}")
        if kernel % 2 == 0 or not 1 <= stride <= kernel:
            raise ConfigurationError(f"patches need an odd kernel >= stride, got kernel={kernel}, stride={stride}")
        self.grid = PatchGrid(kernel, stride, kernel // 2)
        self.activation = activation
        self.linear1 = nn.Linear(channels, hidden * kernel**2)
        self.linear2 = nn.Linear(hidden * kernel**2, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, T, H, W, C)` to the same shape."""
        maps = map_frames(self._layers, tokens_to_maps(cast_for_autocast(x)))
        return maps_to_tokens(maps, x.shape[0])

    def _layers(self, tokens: Tensor) -> Tensor:
        size = (tokens.shape[2] * self.grid.stride, tokens.shape[3] * self.grid.stride)
        maps = soft_composition(tokens, self.linear1.weight, self.linear1.bias, size, self.grid)
        maps = maps / overlap_count(maps, size, self.grid)
        maps = F.relu(maps, inplace=True) if self.activation == "relu" else F.gelu(maps)
        return soft_split(maps.to(memory_format=torch.channels_last), self.linear2.weight, self.linear2.bias, self.grid)
