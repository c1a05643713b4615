"""One transformer block, still without a residual scheme."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightvid.errors import ConfigurationError

Norm = Literal["none", "pre", "post"]


class TokenContext(NamedTuple):
    """What mixers may look at besides the tokens.

    Attributes:
        holes: `(B, T, H, W)`, 1 = hole.
        positions: `(B or 1, T, H, W, C)`, added where tokens choose what they look at.
        padding: `(B, T, H, W)` bool, True for tokens that are no part of the clip.
    """

    holes: Tensor | None = None
    positions: Tensor | None = None
    padding: Tensor | None = None


class Block(nn.Module):
    """A mixer and a feed-forward, each optionally with a LayerNorm.

    It owns the weights and the two residual branches; how these are added is the residual scheme's business, so that
    the names of the weights are the same under every scheme.

    Args:
        width: channels of the tokens that the block sees.
        mixer: makes the mixer, called as `mixer(tokens, holes)`, and with `positions` and `padding` if it says that it
            is `positioned`; to others the tokens come with their positions added and 0 where there is padding.
        feed_forward: makes the feed-forward, called as `feed_forward(tokens)`.
        norm: LayerNorm over the channels before each of both ("pre"), after each sum ("post"), or nothing.
        residual_from_norm: see `SpatioTemporalTransformer`.
        dropout: of what each branch adds.
    """

    def __init__(
        self,
        width: int,
        mixer: Callable[[int], nn.Module],
        feed_forward: Callable[[int], nn.Module],
        norm: Norm,
        residual_from_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.residual_from_norm = residual_from_norm
        self.mixer_norm = nn.Identity() if norm == "none" else nn.LayerNorm(width)
        self.mixer = mixer(width)
        self.feed_forward_norm = nn.Identity() if norm == "none" else nn.LayerNorm(width)
        self.feed_forward = feed_forward(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: TokenContext) -> Tensor:
        """The additive block: `x + mix(x)`, then `x + feed(x)`, each sum through its LayerNorm where that is "post"."""
        if self.norm == "post":
            x = self.mixer_norm(x + self.mixed(x, context))
            return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))
        normed = self.mixer_norm(x)
        x = (normed if self.residual_from_norm else x) + self.mixed(normed, context)
        return x + self.feed(x)

    def mix(self, x: Tensor, context: TokenContext) -> Tensor:
        """The branch F: tokens `(B, T, H, W, C)` to tokens."""
        return self.mixed(self.mixer_norm(x), context)

    def feed(self, x: Tensor) -> Tensor:
        """The branch G: tokens `(B, T, H, W, C)` to tokens."""
        return self.dropout(self.feed_forward(self.feed_forward_norm(x)))

    def mixed(self, normed: Tensor, context: TokenContext) -> Tensor:
        """The branch F after its LayerNorm.

        Raises:
            ConfigurationError: the mixer changes the shape of the tokens.
        """
        holes, positions, padding = context
        if getattr(self.mixer, "positioned", False):
            mixed = self.mixer(normed, holes, positions=positions, padding=padding)
            return self.dropout(self._kept(normed, mixed))
        if positions is not None:
            normed = normed + positions.to(normed.dtype)
        if padding is not None:
            normed = normed.masked_fill(padding.unsqueeze(-1), 0)
        return self.dropout(self._kept(normed, self.mixer(normed, holes)))

    def _kept(self, tokens: Tensor, mixed: Tensor) -> Tensor:
        """What the mixer made of tokens, in their shape; a compiler would only find more to keep track of."""
        if not torch.compiler.is_compiling() and mixed.shape != tokens.shape:
            raise ConfigurationError(
                f"{type(self.mixer).__name__} makes {tuple(mixed.shape)} of tokens {tuple(tokens.shape)}: a mixer keeps"
                " the shape (B, T, H, W, C)"
            )
        return mixed
