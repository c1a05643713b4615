"""The convolutional decoder of STTN."""

from __future__ import annotations

from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops import map_frames, tokens_to_maps


class ConvDecoder(nn.Module):
    """Two bilinear upsamplings by 2 and four 3x3 convolutions, to frames in [-1, 1] (STTN, Zeng et al., ECCV 2020).

    Args:
        channels: width of the tokens.
        hidden: width of the last layers, the first has twice as much; by default a quarter of `channels`, as in STTN.
        recompute: compute the layers again in the backward pass, a few frames at a time, instead of keeping their maps,
            which at full resolution are larger than those of a reversible backbone.
    """

    def __init__(self, channels: int = 256, *, hidden: int | None = None, recompute: bool = False) -> None:
        super().__init__()
        if hidden is None and channels % 4:
            raise ConfigurationError(f"the decoder's channels must be divisible by 4, got {channels}")
        if hidden is not None and hidden < 1:
            raise ConfigurationError(f"hidden counts channels: expected at least 1, got {hidden}")
        hidden = hidden or channels // 4
        self.channels = channels
        self.recompute = recompute
        self.layers = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(channels, 2 * hidden, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(hidden, 3, 3, padding=1),
        )

    def forward(self, tokens: Tensor, features: Tensor | None = None) -> Tensor:
        """Tokens `(B, T, h, w, C)` to frames `(B, T, 3, 4h, 4w)`; a stem's features are not looked at."""
        frames = map_frames(self._decode, tokens_to_maps(tokens), recompute=self.recompute)
        return frames.unflatten(0, tokens.shape[:2])

    def _decode(self, maps: Tensor) -> Tensor:
        return self.layers(maps).tanh().contiguous()
