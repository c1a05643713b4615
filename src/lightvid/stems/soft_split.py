"""The hierarchical encoder and the soft split of DSTT, FuseFormer and E2FGVI."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import PatchGrid, map_frames, maps_to_tokens, soft_split
from lightvid.stems.conv import quarter_layers
from lightvid.stems.output import StemOutput

# Groups of the hierarchy's convolutions, as published.
GROUPS = (1, 2, 4, 8, 1)


class SoftSplitStem(nn.Module):
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
    """

    def __init__(
        self,
        channels: int = 512,
        *,
        base: int = 256,
        widths: Sequence[int] = (384, 512, 384, 256, 128),
        inputs: int = 3,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if len(widths) != len(GROUPS):
            raise ConfigurationError(f"widths gives the channels of {len(GROUPS)} layers, got {list(widths)}")
        for index, (width, groups) in enumerate(zip(widths, GROUPS, strict=True)):
            after = GROUPS[index + 1] if index + 1 < len(GROUPS) else 1
            if base % groups or width % groups or width % after:
                raise ConfigurationError(
                    f"widths[{index}]={width} and base={base} must be divisible by {groups} and {after} groups"
                )
        self.channels = channels
        self.features = widths[-1]
        self.inputs = inputs
        self.recompute = recompute
        self.grid = PatchGrid()
        self.first = quarter_layers(inputs, base)
        befores = [base, *(base + width for width in widths[:-1])]
        self.hierarchy = nn.ModuleList(
            nn.Conv2d(before, width, 3, padding=1, groups=groups)
            for before, width, groups in zip(befores, widths, GROUPS, strict=True)
        )
        self.split = nn.Linear(widths[-1] * self.grid.kernel**2, channels)

    def forward(self, frames: Tensor) -> StemOutput:
        """Frames `(B, T, inputs, H, W)`, sides divisible by 4, to tokens at about 1/12 and features at 1/4."""
        maps = map_frames(self._encode, frames.flatten(0, 1), recompute=self.recompute)
        tokens = map_frames(self._split, maps)
        return StemOutput(maps_to_tokens(tokens, len(frames)), maps_to_tokens(maps, len(frames)))

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
