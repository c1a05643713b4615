"""One transformer block, still without a residual scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn


class Block(nn.Module):
    """A mixer and a feed-forward, each optionally after a LayerNorm.

    It owns the weights and the two residual branches; how these are added is the residual scheme's business, so that
    the names of the weights are the same under every scheme.

    Args:
        width: channels of the tokens that the block sees.
        mixer: makes the mixer, called as `mixer(tokens, holes)`.
        feed_forward: makes the feed-forward, called as `feed_forward(tokens)`.
        norm: LayerNorm over the channels before each of both ("pre"), or nothing.
        residual_from_norm: see `SpatioTemporalTransformer`.
    """

    def __init__(
        self,
        width: int,
        mixer: Callable[[int], nn.Module],
        feed_forward: Callable[[int], nn.Module],
        norm: Literal["none", "pre"],
        residual_from_norm: bool = False,
    ) -> None:
        super().__init__()
        self.residual_from_norm = residual_from_norm
        self.mixer_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.mixer = mixer(width)
        self.feed_forward_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.feed_forward = feed_forward(width)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """The additive block: `x + mix(x)`, then `x + feed(x)`."""
        normed = self.mixer_norm(x)
        x = (normed if self.residual_from_norm else x) + self.mixer(normed, holes)
        return x + self.feed(x)

    def mix(self, x: Tensor, holes: Tensor | None) -> Tensor:
        """The branch F: tokens `(B, T, H, W, C)` and holes `(B, T, H, W)` to tokens."""
        return self.mixer(self.mixer_norm(x), holes)

    def feed(self, x: Tensor) -> Tensor:
        """The branch G: tokens `(B, T, H, W, C)` to tokens."""
        return self.feed_forward(self.feed_forward_norm(x))
