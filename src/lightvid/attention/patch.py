"""Multi-scale patch attention of STTN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast, map_frames, maps_to_tokens, tokens_to_maps

# Rows of the score matrix that are held at once when no gradient is needed.
QUERIES_AT_ONCE = 512


class PatchAttention(nn.Module):
    """Attention between the patches of all frames, each head at its own patch size (STTN, Zeng et al., ECCV 2020).

    The channels are split equally between the heads. Head i cuts every frame into `divisions[i] x divisions[i]` patches
    of its channels, and each patch attends to those of all frames. A feature map that does not divide is continued by
    its last row and column, and the result cropped.

    Args:
        channels: width of the tokens, divisible by the number of heads.
        divisions: patches per side of a frame, one number per head; the published ones give patches of 108x60, 36x20,
            18x10 and 9x5 on the 108x60 features of a 432x240 frame.
        mask_keys: let no patch be attended to that is more than half hole, as the paper describes. Off by default:
            the released code computes this mask and then does not apply it.
    """

    def __init__(self, channels: int, *, divisions: Sequence[int] = (1, 3, 6, 12), mask_keys: bool = False) -> None:
        super().__init__()
        if not divisions or min(divisions) < 1:
            raise ConfigurationError(f"divisions counts patches per side: expected numbers >= 1, got {list(divisions)}")
        if channels % len(divisions):
            raise ConfigurationError(
                f"{channels} channels do not split into {len(divisions)} equal heads: change channels or divisions"
            )
        self.divisions = tuple(divisions)
        self.mask_keys = mask_keys
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: `(B, T, H, W)`, 1 = hole; used by `mask_keys`, which masks nothing without it.

        Returns:
            `(B, T, H, W, C)`.
        """
        x = cast_for_autocast(x)
        maps = tokens_to_maps(torch.cat([self._head(head, x, holes) for head in range(len(self.divisions))], dim=-1))
        return maps_to_tokens(map_frames(self._project, maps, out=maps), x.shape[0])

    def _head(self, head: int, x: Tensor, holes: Tensor | None) -> Tensor:
        """One head, from the tokens to its own channels `(B, T, H, W, C / heads)`: no full q, k or v ever exists."""
        width = x.shape[-1] // len(self.divisions)
        channels = slice(head * width, (head + 1) * width)
        grid = _PatchGrid.of(x.shape[2], x.shape[3], self.divisions[head])
        query, key, value = (
            grid.cut(F.linear(x, layer.weight[channels], layer.bias[channels]))
            for layer in (self.query, self.key, self.value)
        )
        masked = None
        if self.mask_keys and holes is not None:
            masked = grid.cut(holes.float().unsqueeze(-1)).mean(-1) > 0.5
        return grid.join(_attend(query, key, value, masked), x.shape)

    def _project(self, maps: Tensor) -> Tensor:
        return F.leaky_relu(self.output(maps), 0.2, inplace=True)


class _PatchGrid(NamedTuple):
    """How one head cuts a frame: `rows x columns` patches of `height x width` tokens."""

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, height: int, width: int, divisions: int) -> _PatchGrid:
        """The grid of at most `divisions` patches per side, without a patch that lies outside of the frame."""
        patch_height, patch_width = math.ceil(height / divisions), math.ceil(width / divisions)
        return cls(math.ceil(height / patch_height), math.ceil(width / patch_width), patch_height, patch_width)

    def cut(self, x: Tensor) -> Tensor:
        """`(B, T, H, W, c)` to one row per patch, `(B, T * rows * columns, height * width * c)`."""
        below, right = self.rows * self.height - x.shape[2], self.columns * self.width - x.shape[3]
        if below or right:
            x = F.pad(x, (0, 0, 0, right, 0, below), mode="replicate")
        patches = x.unflatten(3, (self.columns, self.width)).unflatten(2, (self.rows, self.height))
        return patches.transpose(3, 4).flatten(4).flatten(1, 3)

    def join(self, patches: Tensor, shape: Sequence[int]) -> Tensor:
        """The inverse of `cut`, cropped to `shape` `(B, T, H, W, ...)`."""
        batch, frames, height, width = shape[:4]
        patches = patches.view(batch, frames, self.rows, self.columns, self.height, self.width, -1)
        x = patches.transpose(3, 4).flatten(4, 5).flatten(2, 3)
        return x[:, :, :height, :width]


def _attend(query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None) -> Tensor:
    """Attention over `(B, N, E)`; when no gradient is needed, the result takes the memory of the query."""
    if torch.is_grad_enabled():
        return _attend_rows(query, key, value, masked)
    for rows in query.split(QUERIES_AT_ONCE, dim=1):
        rows.copy_(_attend_rows(rows, key, value, masked))
    return query


def _attend_rows(query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None) -> Tensor:
    """`softmax(q k^T / sqrt(E)) v` (STTN, Eq. 3), with the softmax in at least float32.

    Explicit products: E is a whole patch, up to 414,720 numbers, beyond what fused attention kernels take.
    """
    # Scaled inside the product: in float16 a sum over so many numbers overflows before it could be scaled.
    nothing = query.new_zeros(1, 1, 1)
    scores = torch.baddbmm(nothing, query, key.mT, beta=0, alpha=query.shape[-1] ** -0.5)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if masked is not None:
        # Finite, so that a row without any valid key becomes uniform, not NaN.
        scores = scores.masked_fill(masked.unsqueeze(1), torch.finfo(scores.dtype).min)
    return torch.bmm(scores.softmax(-1).to(value.dtype), value)
