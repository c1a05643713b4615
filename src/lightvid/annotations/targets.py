"""What a clip's instances are, for training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class InstanceTargets(NamedTuple):
    """The G annotated tracks of one clip of T frames.

    Attributes:
        classes: `(G,)` int64, counted from 0 in the order of the dataset's categories.
        boxes: `(G, T, 4)` float32: centre x, centre y, width, height in [0, 1] of the clip without its padding; 0 where
            the instance is not visible.
        visible: `(G, T)` bool; every track is visible in at least one frame.
        masks: `(G, T, H, W)` bool, of the padded size; False where the instance is not visible.
    """

    classes: Tensor
    boxes: Tensor
    visible: Tensor
    masks: Tensor

    def to(self, device: torch.device | str) -> InstanceTargets:
        """The same on another device."""
        return InstanceTargets(*(part.to(device, non_blocking=True) for part in self))
