"""What a network for video instance segmentation answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class InstancePrediction(NamedTuple):
    """Classes and boxes of one decoder layer.

    Attributes:
        logits: `(B, T, I, n)`. "sigmoid" networks: n classes. "softmax" networks, as VisTR: index 0 is "not visible in
            this frame", k + 1 is class k, and the last is "no object", so n is the number of classes + 2.
        boxes: `(B, T, I, 4)`: centre x, centre y, width, height in [0, 1] of the clip without its padding.
    """

    logits: Tensor
    boxes: Tensor


@dataclass
class InstanceOutput:
    """Predictions of I instances in T frames; an instance keeps its index in all frames.

    Attributes:
        logits: see `InstancePrediction`.
        boxes: see `InstancePrediction`.
        masks: `(B, T, I, ceil(H / 4), ceil(W / 4))`, logits.
        auxiliary: the predictions of the earlier decoder layers, first to last.
        extra: further outputs that a loss of their own learns from, by name.
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    auxiliary: list[InstancePrediction] = field(default_factory=list)
    extra: dict[str, Tensor] = field(default_factory=dict)
