"""Residual schemes in plain autograd; `reversible.py` holds the one that recomputes its activations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightvid.backbone.block import Block, TokenContext


def additive(blocks: Iterable[Block], x: Tensor, context: TokenContext, *, overwrite_x: bool = False) -> Tensor:
    """`x + F(x)`, then `x + G(x)`, for each block; blocks with "post" norm normalise each sum.

    Args:
        blocks: the blocks, in order.
        x: `(B, T, H, W, C)`.
        context: for the mixers.
        overwrite_x: the memory of `x` may take the result when no gradient is needed.
    """
    owned = overwrite_x
    for block in blocks:
        if block.norm == "post" or torch.is_grad_enabled():  # nothing to overwrite
            x = block(x, context)
            continue
        normed = block.mixer_norm(x)
        if block.residual_from_norm:
            x, owned = normed, True
        x = _add(x, block.mixed(normed, context), in_place=owned)
        x = _add(x, block.feed(x), in_place=True)
        owned = True
    return x


def checkpointed(blocks: Iterable[Block], x: Tensor, context: TokenContext) -> Tensor:
    """The additive scheme, keeping for the backward pass only what enters each block (Chen et al., 2016)."""
    for block in blocks:
        x = checkpoint(block, x, context, use_reentrant=False)
    return x


def coupled(
    blocks: Iterable[Block], x1: Tensor, x2: Tensor, context: TokenContext, *, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`y1 = x1 + F(x2)`, `y2 = x2 + G(y1)` for each block (FastSTTN, Escher et al., SIBGRAPI 2021, Eq. 3-4).

    When no gradient is needed, the two streams are overwritten.

    Args:
        blocks: the blocks, in order.
        x1: first stream, `(B, T, H, W, C)`.
        x2: second stream, likewise.
        context: for the mixers.
        dtype: of the tokens that the branches see.
    """
    for block in blocks:
        x1 = _add(x1, block.mix(x2.to(dtype), context), in_place=True)
        x2 = _add(x2, block.feed(x1.to(dtype)), in_place=True)
    return x1, x2


def _add(x: Tensor, update: Tensor, *, in_place: bool) -> Tensor:
    if in_place and not torch.is_grad_enabled() and torch.result_type(x, update) == x.dtype:
        return x.add_(update)
    return x + update
