"""The soft composition and the decoder of DSTT, FuseFormer and E2FGVI."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.heads.conv_decoder import ConvDecoder
from lightvid.ops import PatchGrid, cast_for_autocast, map_frames, maps_to_tokens, soft_composition, tokens_to_maps

logger = logging.getLogger(__name__)


class SoftCompositionDecoder(nn.Module):
    """Tokens to overlapping patches, their sum added to the stem's features, and a convolutional decoder.

    Args:
        channels: width of the tokens.
        features: channels of the stem's features.
        hidden: channels of the decoder's last layers.
        bias_map: rows and columns of a learned bias that is added to the features (FuseFormer; 60x108 there), or none
            (DSTT). For features of another size it is interpolated, which is logged once per size.
        smooth: pass the sum of the patches through a 3x3 convolution (E2FGVI-HQ, in place of the bias map).
        recompute: compute the decoder again in the backward pass, a few frames at a time, instead of keeping its maps.
    """

    def __init__(
        self,
        channels: int = 512,
        *,
        features: int = 128,
        hidden: int = 64,
        bias_map: Sequence[int] | None = None,
        smooth: bool = False,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if bias_map and (len(bias_map) != 2 or min(bias_map) < 1):
            raise ConfigurationError(f"bias_map is (rows, columns) of at least 1, got {list(bias_map)}")
        self.channels = channels
        self.features = features
        self.grid = PatchGrid()
        self.composition = nn.Linear(channels, features * self.grid.kernel**2)
        self.bias_map = nn.Parameter(torch.zeros(features, *bias_map)) if bias_map else None
        self.smoothing = nn.Conv2d(features, features, 3, padding=1) if smooth else None
        self.decoder = ConvDecoder(features, hidden=hidden, recompute=recompute)
        self._logged: set[tuple[int, ...]] = set()

    def forward(self, tokens: Tensor, features: Tensor | None = None) -> Tensor:
        """Tokens `(B, T, h', w', C)` and features `(B, T, h, w, c)` to frames `(B, T, 3, 4h, 4w)`."""
        if features is None:
            raise ValueError("soft composition needs the features of a soft split stem, got none")
        size = (features.shape[2], features.shape[3])
        linear = self.composition

        def compose(part: Tensor) -> Tensor:
            composed = soft_composition(part, linear.weight, linear.bias, size, self.grid)
            return composed if self.smoothing is None else self.smoothing(composed)

        composed = maps_to_tokens(map_frames(compose, tokens_to_maps(cast_for_autocast(tokens))), tokens.shape[0])
        if torch.is_grad_enabled():
            composed = composed + features
        else:
            composed += features
        return self.decoder(self._add_bias(composed, size))

    def _add_bias(self, composed: Tensor, size: tuple[int, int]) -> Tensor:
        if self.bias_map is None:
            return composed
        bias: Tensor = self.bias_map
        if tuple(bias.shape[1:]) != size:
            if size not in self._logged:
                self._logged.add(size)
                logger.info("bias map of %dx%d features interpolated to %dx%d", *bias.shape[1:], *size)
            bias = F.interpolate(bias.unsqueeze(0), size, mode="bicubic", align_corners=False).squeeze(0)
        return composed + bias.permute(1, 2, 0).to(composed.dtype)
