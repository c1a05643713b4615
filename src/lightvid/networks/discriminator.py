"""The T-PatchGAN discriminator (Chang et al., ICCV 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv3d, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

from lightvid.networks.initialization import Init, initialize


class TPatchGAN(nn.Module):
    """Six 3-D convolutions that score every space-time patch of a video in `4 * channels` features.

    Args:
        channels: width of the first layer: 64 in STTN, 32 in its successors.
        merge_batch_into_time: score a batch as one long clip, all clips end to end, as the released trainers of STTN, DSTT
            and FuseFormer do.
        init: as in `InpaintingGenerator`.
    """

    def __init__(self, channels: int = 64, *, merge_batch_into_time: bool = False, init: Init = "default") -> None:
        super().__init__()
        self.merge_batch_into_time = merge_batch_into_time
        widths = (3, channels, 2 * channels, 4 * channels, 4 * channels, 4 * channels, 4 * channels)
        convolutions = []
        for index, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            padding = (1, 1, 1) if index == 0 else (1, 2, 2)
            convolutions.append(nn.Conv3d(before, after, (3, 5, 5), (1, 2, 2), padding, bias=index == 5))
        self.convolutions = nn.ModuleList(convolutions)
        initialize(self, init)
        for convolution in convolutions[:-1]:
            spectral_norm(convolution)

    def forward(self, video: Tensor) -> Tensor:
        """Scores `(B, T, 4 * channels, h, w)`, without sigmoid, of a video `(B, T, 3, H, W)` in [-1, 1]."""
        B, T = video.shape[:2]
        x = video.transpose(1, 2)
        if self.merge_batch_into_time:
            x = video.flatten(0, 1).transpose(0, 1)[None]
        for index, convolution in enumerate(self.convolutions):
            assert isinstance(convolution, nn.Conv3d)
            x = conv3d(x, _float_weight(convolution, x), convolution.bias, convolution.stride, convolution.padding)
            if index < 5:
                x = leaky_relu(x, 0.2, inplace=True)
        return x.transpose(1, 2).reshape(B, T, *x.shape[1:2], *x.shape[3:])


def _float_weight(convolution: nn.Conv3d, x: Tensor) -> Tensor:
    """The weight, whose spectral norm is estimated in float32 at any precision; in training each access moves the estimate on."""
    if not torch.amp.is_autocast_available(x.device.type):
        return convolution.weight
    with torch.autocast(x.device.type, enabled=False):
        return convolution.weight
