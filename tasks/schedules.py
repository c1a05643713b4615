"""Learning rate schedules that PyTorch does not have."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Linear warm-up, then half a cosine to `final` times the learning rate; each group keeps its own.

    Args:
        optimizer: whose learning rates are scaled.
        steps: of the whole run.
        warmup: steps until the full learning rate.
        final: factor at the end.
    """

    def __init__(self, optimizer: Optimizer, steps: int, *, warmup: int = 100, final: float = 0.02) -> None:
        def factor(step: int) -> float:
            decline = 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
            return min(1.0, (step + 1) / max(1, warmup)) * (final + (1 - final) * decline)

        super().__init__(optimizer, factor)
