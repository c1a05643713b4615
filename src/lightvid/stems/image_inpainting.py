"""An image backbone as the stem of an inpainting network, which may share it with one that finds instances."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops import map_frames, maps_to_tokens, tokens_to_maps
from lightvid.stems.base import InpaintingStem
from lightvid.stems.image import ImageStem
from lightvid.stems.output import StemOutput
from lightvid.video.preparation import IMAGENET_DEVIATION, IMAGENET_MEAN


class ImageInpaintingStem(InpaintingStem):
    """Tokens at a quarter of the resolution: an image stem's own, enlarged, and a projection of its finest map.

    Args:
        channels: width of the tokens.
        image: the image stem, of as many channels.
        inputs: planes of a frame: 3, or 4 where the masks are given beside the colours.
    """

    def __init__(self, channels: int, image: ImageStem, *, inputs: int = 3) -> None:
        super().__init__(channels, inputs=inputs, width=channels, propagation=None)
        if image.channels != channels:
            raise ConfigurationError(
                f"the image stem has {image.channels} channels and its inpainting stem {channels}: give both the same"
            )
        self.image = image
        self.finest = nn.Conv2d(image.feature_channels[0], channels, 1)
        self.mask = nn.Conv2d(1, channels, 4, stride=4) if inputs == 4 else None

    def encode(self, frames: Tensor) -> Tensor:
        """Frames `(B, T, inputs, H, W)` in [-1, 1], sides divisible by 4, to features `(B, T, H / 4, W / 4, C)`."""
        return maps_to_tokens(map_frames(self._encode, frames.flatten(0, 1)), frames.shape[0])

    def tokenise(self, features: Tensor) -> StemOutput:
        """The features are the tokens."""
        return StemOutput(features)

    def token_size(self, height: int, width: int) -> tuple[int, int]:
        """See `InpaintingStem.token_size`."""
        return height, width

    def _encode(self, frames: Tensor) -> Tensor:
        shape = (3, 1, 1)
        mean, deviation = (frames.new_tensor(values).view(shape) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        normalised = ((frames[:, :3] + 1) / 2 - mean) / deviation
        coarse, maps, _ = self.image(normalised.unsqueeze(1))
        finest = self.finest(maps[0])
        enlarged = F.interpolate(tokens_to_maps(coarse), size=finest.shape[-2:], mode="bilinear", align_corners=False)
        mixed = finest + enlarged
        return mixed if self.mask is None else mixed + self.mask(frames[:, 3:])
