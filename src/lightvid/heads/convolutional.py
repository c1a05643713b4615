"""The convolutional decoder of STTN (Zeng et al., ECCV 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightvid.ops.chunking import map_frames
from lightvid.ops.grid import tokens_to_images


class ConvDecoder(nn.Module):
    """Two bilinear doublings and four 3x3 convolutions with LeakyReLU 0.2 between them, then tanh.

    Args:
        channels: width of the tokens; the layers have `C/2, C/4, C/4, 3` channels (128, 64, 64, 3 in STTN).
    """

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        widths = (channels, channels // 2, channels // 4, channels // 4, 3)
        convolutions = [nn.Conv2d(before, after, 3, padding=1) for before, after in zip(widths, widths[1:], strict=False)]
        self.convolutions = nn.ModuleList(convolutions)
        self.activation = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(B, T, h, w, C)` to frames `(B, T, 3, 4h, 4w)` in [-1, 1]."""
        return map_frames(self._frames, tokens_to_images(tokens), 1).unflatten(0, tokens.shape[:2])

    def _frames(self, images: Tensor) -> Tensor:
        for index, convolution in enumerate(self.convolutions):
            if index in (0, 2):
                images = interpolate(images, scale_factor=2, mode="bilinear", align_corners=True)
            images = convolution(images)
            if index < 3:
                images = self.activation(images)
        return images.tanh()
