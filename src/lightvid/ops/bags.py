"""Weighted sums of gathered rows, and a gradient of them, without the gathered rows in memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def weighted_sums(rows: Tensor, source: Tensor, weights: Tensor) -> Tensor:
    """`out[n] = sum_k weights[n, k] * source[rows[n, k]]`.

    Args:
        rows: `(N, K)` int32 or int64.
        source: `(R, C)`.
        weights: `(N, K)`, in the dtype of the source.

    Returns:
        `(N, C)`.
    """
    return F.embedding_bag(rows, source, mode="sum", per_sample_weights=weights)


def dots(rows: Tensor, source: Tensor, other: Tensor) -> Tensor:
    """`other[n] . source[rows[n, k]]`, which for the gradient of the sums is that of their weights.

    Args:
        rows: `(N, K)` int32 or int64.
        source: `(R, C)`.
        other: `(N, C)`, in the dtype of the source.

    Returns:
        `(N, K)`.
    """
    count = torch.arange(len(rows), dtype=rows.dtype, device=rows.device)
    bag_of_each = count.repeat_interleave(rows.shape[1], output_size=rows.numel())
    # PyTorch's own backward of embedding_bag, by name: below autograd there is no other way to it.
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        other, source, rows.flatten(), count * rows.shape[1], bag_of_each, 0
    ).view(rows.shape)
