"""The convolutional stem of STTN (Zeng et al., ECCV 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightvid.ops.chunking import map_frames
from lightvid.ops.grid import images_to_tokens


class ConvStem(nn.Module):
    """Four 3x3 convolutions with LeakyReLU 0.2, the first and the third of stride 2: a quarter of the size.

    Args:
        channels: width of the tokens; the layers have `C/4, C/4, C/2, C` channels (64, 64, 128, 256 in STTN).
    """

    stride = 4

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        widths = (3, channels // 4, channels // 4, channels // 2, channels)
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [nn.Conv2d(before, after, 3, stride=2 if index in (0, 2) else 1, padding=1)]
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        """`(B, T, 3, H, W)` to tokens `(B, T, H/4, W/4, C)`; H and W are multiples of 4."""
        return images_to_tokens(map_frames(self._frames, frames.flatten(0, 1)), frames.shape[0])

    def _frames(self, images: Tensor) -> Tensor:
        return self.layers(images.contiguous(memory_format=torch.channels_last))
