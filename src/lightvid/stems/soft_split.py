"""The hierarchical encoder and the soft split of DSTT, FuseFormer and E2FGVI."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import PatchGrid, cast_for_autocast, map_frames, maps_to_tokens, soft_split, tokens_to_maps
from lightvid.stems.base import InpaintingStem
from lightvid.stems.conv import quarter_layers
from lightvid.stems.output import StemOutput
from lightvid.stems.propagation import FlowGuidedPropagation

# Groups of the hierarchy's convolutions, as published.
GROUPS = (1, 2, 4, 8, 1)


class SoftSplitStem(InpaintingStem):
    """Features at a quarter of the resolution, and one token per overlapping 7x7 patch of them, three pixels apart.

    DSTT (Liu et al., 2021) calls the second part patch-to-vector, FuseFormer (Liu et al., ICCV 2021) soft split. The
    features go to the head, too.

    Args:
        channels: width of the tokens.
        base: channels of the first features, divisible by 8.
        widths: channels of the five layers of the hierarchy, each divisible by the groups of its own layer and of the
            next: (384, 512, 384, 256, 128) in FuseFormer and E2FGVI, (256, 256, 256, 256, 128) in DSTT.
        inputs: planes of a frame: 3, or 4 where the masks are given beside the colours.
        recompute: compute the encoder again in the backward pass, a few frames at a time, instead of keeping its maps.
        propagation: see `InpaintingStem`; of as many channels as the last of `widths` (E2FGVI).
    """

    def __init__(
        self,
        channels: int = 512,
        *,
        base: int = 256,
        widths: Sequence[int] = (384, 512, 384, 256, 128),
        inputs: int = 3,
        recompute: bool = False,
        propagation: FlowGuidedPropagation | None = None,
    ) -> None:
        super().__init__(channels, inputs=inputs, width=widths[-1], propagation=propagation)
        if len(widths) != len(GROUPS):
            raise ConfigurationError(f"widths gives the channels of {len(GROUPS)} layers, got {list(widths)}")
        for index, (width, groups) in enumerate(zip(widths, GROUPS, strict=True)):
            after = GROUPS[index + 1] if index + 1 < len(GROUPS) else 1
            if base % groups or width % groups or width % after:
                raise ConfigurationError(
                    f"widths[{index}]={width} and base={base} must be divisible by {groups} and {after} groups"
                )
        self.features = widths[-1]
        self.recompute = recompute
        self.grid = PatchGrid()
        self.first = quarter_layers(inputs, base)
        befores = [base, *(base + width for width in widths[:-1])]
        self.hierarchy = nn.ModuleList(
            nn.Conv2d(before, width, 3, padding=1, groups=groups)
            for before, width, groups in zip(befores, widths, GROUPS, strict=True)
        )
        self.split = nn.Linear(widths[-1] * self.grid.kernel**2, channels)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames `(B, T, inputs, H, W)`, sides divisible by 4, to features `(B, T, H/4, W/4, c)`."""
        maps = map_frames(self._encode, frames.flatten(0, 1), recompute=self.recompute)
        return maps_to_tokens(maps, frames.shape[0])

    def tokenise(self, features: Tensor) -> StemOutput:
        """Tokens at about 1/12 of the frames' size, and the features."""
        tokens = map_frames(self._split, tokens_to_maps(cast_for_autocast(features)))
        return StemOutput(maps_to_tokens(tokens, features.shape[0]), features)

    def token_size(self, height: int, width: int) -> tuple[int, int]:
        """See `InpaintingStem.token_size`."""
        return self.grid.tokens(height, width)

    def _encode(self, frames: Tensor) -> Tensor:
        first = self.first(frames.contiguous(memory_format=torch.channels_last))
        maps = first
        for index, conv in enumerate(self.hierarchy):
            groups = GROUPS[index]
            x = maps if index == 0 else _interleave(first, maps, groups)
            maps = F.leaky_relu(conv(x), 0.2, inplace=True)
        return maps

    def _split(self, maps: Tensor) -> Tensor:
        return soft_split(maps, self.split.weight, self.split.bias, self.grid)


def _interleave(first: Tensor, maps: Tensor, groups: int) -> Tensor:
    """Give every group of the next convolution its slice of the first features and its slice of the current ones."""
    parts = zip(first.chunk(groups, dim=1), maps.chunk(groups, dim=1), strict=True)
    return torch.cat([part for pair in parts for part in pair], dim=1)
