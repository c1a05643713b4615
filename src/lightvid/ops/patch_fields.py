"""Fields to begin a search with, from a coarser search or from the window before."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def upsample_field(
    index: Tensor, *, size: tuple[int, int], keys: tuple[int, int], upsampled_keys: tuple[int, int]
) -> Tensor:
    """The field of coarser volumes at finer positions: a match moves with its query within their coarse positions.

    Args:
        index: `(B, T, h, w, K)` int32 of the coarse field.
        size: `(H, W)` of the fine queries.
        keys: `(h', w')` of the coarse keys.
        upsampled_keys: `(H', W')` of the fine keys.

    Returns:
        `(B, T, H, W, K)` int32.
    """
    row, inner_row = _coarse(size[0], index.shape[2], index.device)
    column, inner_column = _coarse(size[1], index.shape[3], index.device)
    coarse = index[:, :, row[:, None], column].long()
    position = coarse.clamp(min=0)
    key_row, x = position // keys[1], position % keys[1]
    t, y = key_row // keys[0], key_row % keys[0]
    height, width = upsampled_keys
    y = (_first(y, height, keys[0]) + inner_row[:, None, None]).clamp(max=height - 1)
    x = (_first(x, width, keys[1]) + inner_column[:, None]).clamp(max=width - 1)
    return ((t * height + y) * width + x).where(coarse >= 0, -1).int()


def move_field(index: Tensor, frames: int, *, keys: tuple[int, int, int]) -> Tensor:
    """The field with every match moved by so many key frames, as when a window slides along a clip.

    Args:
        index: `(B, T, H, W, K)` int32.
        frames: later key frames are positive.
        keys: `(T', H', W')` of the keys; what leaves them becomes -1.
    """
    moved = index + frames * math.prod(keys[1:])
    return moved.where((index >= 0) & (moved >= 0) & (moved < math.prod(keys)), -1)


def _coarse(fine: int, coarse: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The coarse position of each fine one, and how far the fine one is from the first of its coarse position."""
    positions = torch.arange(fine, device=device)
    parents = positions * coarse // fine
    return parents, positions - _first(parents, fine, coarse)


def _first(parents: Tensor, fine: int, coarse: int) -> Tensor:
    return (parents * fine + coarse - 1) // coarse
