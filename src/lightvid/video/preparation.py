"""Frames as image backbones take them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def fit_size(height: int, width: int, *, shortest: int, longest: int | None = None) -> tuple[int, int]:
    """The size (height, width) whose shorter side is `shortest`, or less so that the longer is at most `longest`.

    The rounding is that of DETR's and VisTR's recipes: the other side is rounded down; where `longest` decides, the
    shorter side is rounded.
    """
    low, high = sorted((height, width))
    if longest is not None and shortest * high / low > longest:
        shortest = round(longest * low / high)
    if height <= width:
        return shortest, int(shortest * width / height)
    return int(shortest * height / width), shortest


def resize_bilinear(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize `(T, h, w, 3)` frames with an antialiased bilinear filter, equal to Pillow's within rounding."""
    if frames.shape[1:3] == (height, width):
        return frames
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return F.interpolate(planes, (height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()


def normalise(frames: Tensor) -> Tensor:
    """`(..., H, W, 3)` uint8 RGB to `(..., 3, H, W)` float32, with ImageNet's mean and deviation."""
    planes = frames.movedim(-1, -3).float() / 255
    shape = (3, 1, 1)
    return (planes - planes.new_tensor(IMAGENET_MEAN).view(shape)) / planes.new_tensor(IMAGENET_DEVIATION).view(shape)


def denormalise(frames: Tensor) -> NDArray[np.uint8]:
    """`(..., 3, H, W)` as `normalise` gives them back to `(..., H, W, 3)` uint8."""
    shape = (3, 1, 1)
    planes = frames.float() * frames.new_tensor(IMAGENET_DEVIATION).view(shape)
    planes = planes + frames.new_tensor(IMAGENET_MEAN).view(shape)
    return (planes * 255).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()
