"""Exact attention by PyTorch's fused kernels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def fused_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, dropout: float = 0.0
) -> Tensor:
    """`softmax(q k^T / sqrt(E) + bias) v` without the score matrix in memory.

    Args:
        query: `(N, heads, L, E)`.
        key: `(N, heads, S, E)`.
        value: `(N, heads, S, E)`.
        bias: added to the scores, broadcast to `(N, heads, L, S)`; -inf hides a key.
        dropout: probability with which a weight is set to 0.

    Returns:
        `(N, heads, L, E)`.
    """
    if bias is not None:
        bias = bias.to(query.dtype)
    if query.is_meta:
        # The public function has no fused kernel for meta tensors, so byte counts would be those of the score matrix.
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, attn_mask=bias)[0]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)


def hide_keys(hidden: Tensor) -> Tensor:
    """The bias `(N, 1, 1, S)` for keys `(N, S)` that no query may look at, where `hidden` is True."""
    bias = torch.zeros(hidden.shape, device=hidden.device).masked_fill(hidden, -torch.inf)
    return bias[:, None, None]
