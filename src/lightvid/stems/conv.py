"""The convolutional stem of STTN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops import map_frames, maps_to_tokens
from lightvid.stems.base import InpaintingStem
from lightvid.stems.output import StemOutput
from lightvid.stems.propagation import FlowGuidedPropagation


class ConvStem(InpaintingStem):
    """Four 3x3 convolutions with LeakyReLU(0.2), to a quarter of the resolution (STTN, Zeng et al., ECCV 2020).

    Args:
        channels: width of the tokens, divisible by 4; the layers have 1/4, 1/4, 1/2 and 1/1 of it.
        inputs: planes of a frame: 3, or 4 where the masks are given beside the colours.
        recompute: compute the layers again in the backward pass, a few frames at a time, instead of keeping their maps.
        propagation: see `InpaintingStem`; of as many channels.
    """

    def __init__(
        self,
        channels: int = 256,
        *,
        inputs: int = 3,
        recompute: bool = False,
        propagation: FlowGuidedPropagation | None = None,
    ) -> None:
        super().__init__(channels, inputs=inputs, width=channels, propagation=propagation)
        self.recompute = recompute
        self.layers = quarter_layers(inputs, channels)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames `(B, T, inputs, H, W)` to features `(B, T, ceil(H / 4), ceil(W / 4), C)`."""
        maps = map_frames(self._encode, frames.flatten(0, 1), recompute=self.recompute)
        return maps_to_tokens(maps, frames.shape[0])

    def tokenise(self, features: Tensor) -> StemOutput:
        """The features are the tokens."""
        return StemOutput(features)

    def token_size(self, height: int, width: int) -> tuple[int, int]:
        """See `InpaintingStem.token_size`."""
        return height, width

    def _encode(self, frames: Tensor) -> Tensor:
        return self.layers(frames.contiguous(memory_format=torch.channels_last))


def quarter_layers(inputs: int, channels: int) -> nn.Sequential:
    """The layers that all published inpainting networks begin with: `(N, inputs, H, W)` to `(N, C, H / 4, W / 4)`."""
    if channels % 4:
        raise ConfigurationError(f"the stem's channels must be divisible by 4, got {channels}")
    return nn.Sequential(
        nn.Conv2d(inputs, channels // 4, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels // 4, channels // 4, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels // 4, channels // 2, 3, stride=2, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(channels // 2, channels, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
    )
