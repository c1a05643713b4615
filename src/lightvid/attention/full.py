"""Joint attention of every token to every token of the clip."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast, fused_attention, hide_keys


class FullAttention(nn.Module):
    """Multi-head attention between all tokens of all frames (Vaswani et al., NeurIPS 2017; FuseFormer; VisTR).

    Its cost grows with the square of the number of tokens, its memory linearly: no score matrix is kept.

    Args:
        channels: width of the tokens, divisible by `heads`.
        heads: number of heads, each with its own equal share of the channels.
        dropout: probability with which an attention weight is set to 0 in training.
    """

    positioned: ClassVar[bool] = True  # its forward takes `positions` and `padding`

    def __init__(self, channels: int, *, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ConfigurationError(
                f"{channels} channels do not split into {heads} equal heads: change channels or heads"
            )
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(
        self, x: Tensor, holes: Tensor | None = None, *, positions: Tensor | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: not looked at.
            positions: `(B or 1, T, H, W, C)`, added to queries and keys, not to values.
            padding: `(B, T, H, W)`, True for tokens that are no part of the clip: nobody looks at them.

        Returns:
            `(B, T, H, W, C)`.
        """
        tokens = cast_for_autocast(x).flatten(1, 3)
        placed = tokens if positions is None else tokens + positions.flatten(1, 3).to(tokens.dtype)
        hidden = None if padding is None else padding.flatten(1)
        return self.attend(placed, placed, tokens, hidden).view(x.shape)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Attention of `(N, L, C)` to keys and values `(N, S, C)`, without those that are True in `hidden` `(N, S)`."""
        q, k, v = (
            layer(cast_for_autocast(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        bias = None if hidden is None else hide_keys(hidden)
        mixed = fused_attention(q, k, v, bias, dropout=self.dropout if self.training else 0.0)
        return self.output(mixed.transpose(1, 2).flatten(2))
