"""The cheapest one-to-one assignment of predicted instances to annotated tracks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightvid.errors import ConfigurationError


class Assignment(NamedTuple):
    """Pairs of one clip: predicted instance `instances[m]` learns annotated track `tracks[m]`; both `(M,)` int64."""

    instances: Tensor
    tracks: Tensor


def cheapest_assignments(costs: Sequence[Tensor]) -> list[Assignment]:
    """Hungarian assignment for each of several cost matrices, all moved to the CPU and back in one transfer each way.

    Args:
        costs: matrices `(I, G)` on one device, of any sizes; min(I, G) pairs are made of each.

    Raises:
        ConfigurationError: a cost is NaN or infinite.
    """
    flat = torch.cat([cost.detach().flatten() for cost in costs]).float().cpu().numpy()
    if not np.isfinite(flat).all():
        raise ConfigurationError(
            "the costs of matching hold NaN or infinity, as the network's outputs do: lower the learning rate, "
            "clip the gradients or use trainer.precision=32-true"
        )
    matrices = np.split(flat, np.cumsum([cost.numel() for cost in costs])[:-1])
    pairs = [
        np.stack(linear_sum_assignment(matrix.reshape(cost.shape)))
        for matrix, cost in zip(matrices, costs, strict=True)
    ]
    moved = torch.from_numpy(np.concatenate(pairs, axis=1)).to(costs[0].device, torch.int64)
    return [Assignment(*part.unbind()) for part in moved.split([part.shape[1] for part in pairs], dim=1)]
