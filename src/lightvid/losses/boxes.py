"""Overlaps of boxes given as centre x, centre y, width, height.

Leading dimensions broadcast: `iou(a, b)` compares box by box, `iou(a[:, None], b[None])` every box with every other.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-6  # in both parts of each ratio, as VisTR has it: two boxes without area overlap wholly


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes `(..., 4)`, in [0, 1]."""
    intersection, union, _ = _areas(a, b)
    return _ratio(intersection, union)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes `(..., 4)`, in [-1, 1] (Rezatofighi et al., CVPR 2019, Algorithm 1)."""
    intersection, union, hull = _areas(a, b)
    return _ratio(intersection, union) - _ratio(hull - union, hull)


def to_corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height `(..., 4)` as left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The areas of the intersection, of the union and of the smallest box around both."""
    a_start, a_end = to_corners(a).chunk(2, dim=-1)
    b_start, b_end = to_corners(b).chunk(2, dim=-1)
    intersection = (torch.minimum(a_end, b_end) - torch.maximum(a_start, b_start)).clamp_min(0).prod(-1)
    hull = (torch.maximum(a_end, b_end) - torch.minimum(a_start, b_start)).prod(-1)
    return intersection, a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - intersection, hull


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return (part + _EPSILON) / (whole + _EPSILON)
