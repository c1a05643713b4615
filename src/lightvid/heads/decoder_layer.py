"""One layer of the query decoder."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from lightvid.attention import FullAttention
from lightvid.attention.cross import Memory, References
from lightvid.backbone import MLP


class DecoderLayer(nn.Module):
    """Attention among the queries, attention to the clip, feed-forward; LayerNorm after each sum (DETR, VisTR).

    Args:
        channels: width of the queries.
        cross_attention: makes the attention to the clip from the width, such as `CrossAttention`.
        heads: of the attention among the queries.
        hidden: width inside the feed-forward.
        dropout: of attention weights, of what each part adds, and inside the feed-forward.
    """

    def __init__(
        self,
        channels: int,
        cross_attention: Callable[[int], nn.Module],
        *,
        heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attention = FullAttention(channels, heads=heads, dropout=dropout)
        self.self_attention_norm = nn.LayerNorm(channels)
        self.cross_attention = cross_attention(channels)
        self.cross_attention_norm = nn.LayerNorm(channels)
        self.feed_forward = MLP(channels, hidden=hidden, dropout=dropout)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, content: Tensor, positions: Tensor, memory: Memory, references: References) -> Tensor:
        """Queries `(B, Q, C)` and their positions `(B or 1, Q, C)` to new queries."""
        placed = content + positions
        update = self.self_attention.attend(placed, placed, content)
        content = self.self_attention_norm(content + self.dropout(update))
        update = self.cross_attention(content + positions, memory, references)
        content = self.cross_attention_norm(content + self.dropout(update))
        return self.feed_forward_norm(content + self.dropout(self.feed_forward(content)))
