"""Batch normalisation that does not look at the batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Normalisation = Literal["frozen", "batch", "group"]


class FrozenBatchNorm2d(nn.Module):
    """A per-channel scale and shift from fixed statistics, as in detection (DETR, Carion et al., ECCV 2020).

    All four are buffers, with the names that `nn.BatchNorm2d` gives to its own.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        scale = self.weight * (self.running_var + self.epsilon).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.to(x.dtype).view(1, -1, 1, 1) + shift.to(x.dtype).view(1, -1, 1, 1)


def replace_batch_norm(module: nn.Module, kind: Normalisation) -> None:
    """Replace every `nn.BatchNorm2d` below a module: "frozen" keeps its statistics, "group" starts GroupNorm anew.

    Args:
        module: changed in place.
        kind: "frozen", "group", or "batch", which leaves all as they are.
    """
    if kind == "batch":
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement: nn.Module
            if kind == "group":
                replacement = nn.GroupNorm(_groups(child.num_features), child.num_features)
            else:
                replacement = FrozenBatchNorm2d(child.num_features, epsilon=child.eps)
                state = {key: value for key, value in child.state_dict().items() if key != "num_batches_tracked"}
                replacement.load_state_dict(state)
            setattr(module, name, replacement)
        else:
            replace_batch_norm(child, kind)


def _groups(channels: int) -> int:
    """The largest number of groups up to 32 with at least 4 channels each."""
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if channels % groups == 0 and channels // groups >= 4)
