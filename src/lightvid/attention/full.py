"""Joint attention of every token to every token of the clip."""

from __future__ import annotations

from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast, fused_attention


class FullAttention(nn.Module):
    """Multi-head attention between all tokens of all frames (Vaswani et al., NeurIPS 2017; FuseFormer; VisTR).

    Its cost grows with the square of the number of tokens, its memory linearly: no score matrix is kept.

    Args:
        channels: width of the tokens, divisible by `heads`.
        heads: number of heads, each with its own equal share of the channels.
    """

    def __init__(self, channels: int, *, heads: int = 4) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ConfigurationError(
                f"{channels} channels do not split into {heads} equal heads: change channels or heads"
            )
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: not looked at.

        Returns:
            `(B, T, H, W, C)`.
        """
        return self.attend(x.flatten(1, 3)).view(x.shape)

    def attend(self, x: Tensor) -> Tensor:
        """Attention within each row of tokens `(N, L, C)`."""
        x = cast_for_autocast(x)
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.output(fused_attention(query, key, value).transpose(1, 2).flatten(2))
