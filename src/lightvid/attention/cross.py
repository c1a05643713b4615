"""Attention of object queries to a clip."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightvid.attention.deformable import TrilinearPoints
from lightvid.attention.full import FullAttention
from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast
from lightvid.ops.deformable_sampling import deformable_sampling


class Memory(NamedTuple):
    """The clip that queries look at.

    Attributes:
        tokens: `(B, T, H, W, C)`.
        positions: `(B or 1, T, H, W, C)`, added to keys; None adds nothing.
        padding: `(B, T, H, W)` bool, True for tokens that are no part of the clip; None if all are.
    """

    tokens: Tensor
    positions: Tensor | None = None
    padding: Tensor | None = None


class References(NamedTuple):
    """Where in the clip queries look.

    Attributes:
        points: `(B, Q, 3)`: x, y, t in [0, 1] of the whole map, padding included.
        sizes: `(B, Q, 2)`: width and height around the point in the same unit; None where only the point is known.
    """

    points: Tensor
    sizes: Tensor | None = None


class CrossAttention(nn.Module):
    """Multi-head attention of queries to all tokens (VisTR, Wang et al., CVPR 2021).

    Args:
        channels: width of queries and tokens.
        heads: number of heads.
        dropout: of attention weights, in training.
    """

    def __init__(self, channels: int, *, heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = FullAttention(channels, heads=heads, dropout=dropout)

    def forward(self, queries: Tensor, memory: Memory, references: References) -> Tensor:
        """Queries `(B, Q, C)`, their positions added, to the same shape; `references` is not looked at."""
        tokens = cast_for_autocast(memory.tokens).flatten(1, 3)
        keys = tokens if memory.positions is None else tokens + memory.positions.flatten(1, 3).to(tokens.dtype)
        hidden = None if memory.padding is None else memory.padding.flatten(1)
        return self.attention.attend(queries, keys, tokens, hidden)


class DeformableCrossAttention(nn.Module):
    """Attention of queries to a few sampled points of the clip around their references (Deformable VisTR, Eq. 2).

    Offsets are in cells of the map. Around a box they are in halves of its size instead, so that the points at the
    start lie inside of it (Deformable DETR, Zhu et al., ICLR 2021), and in frames along time.

    Args:
        channels: width of queries and tokens, divisible by `heads`.
        heads: number of heads.
        points: K, points of each head.
        frames: the frames around a query's own over which its points are spread at the start.
    """

    def __init__(self, channels: int, *, heads: int = 8, points: int = 32, frames: int = 5) -> None:
        super().__init__()
        if min(heads, points, frames) < 1 or channels % heads:
            raise ConfigurationError(
                f"deformable attention needs channels that split into heads, and at least one point and frame: got"
                f" {channels} channels, {heads} heads, {points} points, {frames} frames"
            )
        self.heads = heads
        self.reach = -(-points // frames)  # of the farthest point at the start
        self.value = nn.Linear(channels, channels)
        self.sampling = TrilinearPoints(channels, heads, points, frames)
        self.output = nn.Linear(channels, channels)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, memory: Memory, references: References) -> Tensor:
        """Queries `(B, Q, C)`, their positions added, to the same shape."""
        value = self.value(cast_for_autocast(memory.tokens))
        if memory.padding is not None:
            value = value.masked_fill(memory.padding.unsqueeze(-1), 0)
        offsets, logits = self.sampling(queries[:, None, None], slice(0, self.heads))
        if references.sizes is not None:
            height, width = value.shape[2:4]
            cells = references.sizes * references.sizes.new_tensor([width, height])
            scale = torch.cat((cells / (2 * self.reach), torch.ones_like(cells[..., :1])), dim=-1)
            offsets = offsets * scale[:, :, None, None]
        sampled = deformable_sampling(value.unflatten(-1, (self.heads, -1)), references.points, offsets, logits)
        return self.output(sampled.flatten(2))
