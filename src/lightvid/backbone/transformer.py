"""The spatio-temporal transformer: a mixer, a feed-forward and a residual scheme, chosen independently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightvid.attention.patch import PatchAttention
from lightvid.backbone.feed_forward import ConvFeedForward
from lightvid.backbone.reversible import reversible_stack
from lightvid.errors import ConfigurationError

Residual = Literal["additive", "checkpoint", "reversible", "reversible_split"]


class SpatioTemporalTransformer(nn.Module):
    """A stack of blocks on a grid of tokens, `(B, T, H, W, C)` to `(B, T, H, W, C)`.

    Args:
        channels: width of the tokens.
        blocks: number of blocks.
        mixer: makes the token mixer of a block from its width.
        feed_forward: makes the feed-forward of a block from its width.
        norm: `none`, or `pre`: layer normalisation before the mixer and before the feed-forward.
        residual: `additive` is `x + F(x)`; `checkpoint` the same, but keeps only the input of each block and computes it
            again in the backward pass. `reversible` carries two full-width streams (Gomez et al., 2017),
            `y1 = x1 + F(x2)`, `y2 = x2 + G(y1)`, that both start as `x` and end as their mean; `reversible_split` two
            half-width streams (FastSTTN, Escher et al., 2021, Eq. 3-6). Both keep nothing but the last block's output.
        recompute: False keeps the activations of a reversible stack: faster, with the memory of an additive one.
    """

    def __init__(
        self,
        channels: int,
        *,
        blocks: int = 8,
        mixer: Callable[[int], nn.Module] = PatchAttention,
        feed_forward: Callable[[int], nn.Module] = ConvFeedForward,
        norm: Literal["none", "pre"] = "none",
        residual: Residual = "additive",
        recompute: bool = True,
    ) -> None:
        super().__init__()
        if residual not in get_args(Residual):
            raise ConfigurationError(f"residual '{residual}' is unknown: choose from {', '.join(get_args(Residual))}")
        if residual == "reversible_split" and channels % 2:
            raise ConfigurationError(f"reversible_split halves the channels: {channels} is odd")
        self.channels = channels
        self.residual = residual
        self.recompute = recompute
        width = channels // 2 if residual == "reversible_split" else channels
        self.blocks = nn.ModuleList(Block(mixer(width), feed_forward(width), width, norm) for _ in range(blocks))

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Transform tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: `(B, T, H, W)`, 1 = hole, for mixers that ask.
        """
        if self.residual == "additive":
            return self._additive(x, holes)
        if self.residual == "checkpoint":
            for block in self.blocks:
                x = checkpoint(block, x, holes, use_reentrant=False)
            return x
        halves = x.chunk(2, dim=-1) if self.residual == "reversible_split" else (x, x)
        first, second = reversible_stack(self.blocks, *halves, holes, recompute=self.recompute)
        if self.residual == "reversible_split":
            return torch.cat([first, second], dim=-1)
        return (first + second) / 2

    def _additive(self, x: Tensor, holes: Tensor | None) -> Tensor:
        if torch.is_grad_enabled():
            for block in self.blocks:
                x = block(x, holes)
            return x
        x = x.clone()  # the caller's tensor stays as it is; from here the sums are made in place
        for block in self.blocks:
            x += block.mix(x, holes)
            x += block.feed(x)
        return x


class Block(nn.Module):
    """One block: `x + mix(x)`, then `x + feed(x)`; reversible stacks take the two functions by themselves."""

    def __init__(self, mixer: nn.Module, feed_forward: nn.Module, width: int, norm: str) -> None:
        super().__init__()
        self.mixer = mixer
        self.feed_forward = feed_forward
        self.mixer_norm = nn.LayerNorm(width) if norm == "pre" else None
        self.feed_forward_norm = nn.LayerNorm(width) if norm == "pre" else None

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """`(B, T, H, W, C)` to the same shape, additively."""
        x = x + self.mix(x, holes)
        return x + self.feed(x)

    def mix(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """F: the normalised mixer."""
        return self.mixer(x if self.mixer_norm is None else self.mixer_norm(x), holes)

    def feed(self, x: Tensor) -> Tensor:
        """G: the normalised feed-forward."""
        return self.feed_forward(x if self.feed_forward_norm is None else self.feed_forward_norm(x))
