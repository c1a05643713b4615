"""How much two instances have in common."""

from __future__ import annotations

import torch
from torch import Tensor


def jaccard(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of soft sets: sum of minima over sum of maxima.

    Of masks with values 0 and 1 this is their IoU. A soft mask and itself give 1 however soft it is, which products in
    place of minima would not, so a threshold means the same for a certain network and for a hesitant one.

    Args:
        first: `(I, N)`, not negative: I masks of all pixels of some frames, or I vectors of class probabilities.
        second: `(J, N)`.

    Returns:
        `(I, J)` in [0, 1]; 0 where both are empty.
    """
    shared = first.new_zeros(len(first), len(second))
    for row, one in zip(shared, first, strict=True):  # one row at a time: all pairs at once would be large
        row.copy_(torch.minimum(one, second).sum(1))
    union = first.sum(1)[:, None] + second.sum(1) - shared
    return shared / union.clamp_min(torch.finfo(union.dtype).tiny)
