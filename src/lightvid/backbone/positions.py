"""Positions of tokens: vectors that are added to them."""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

logger = logging.getLogger(__name__)


class LearnedPositions(nn.Module):
    """A learned vector per place in the frame, the same in every frame (FuseFormer, Liu et al., ICCV 2021).

    For frames of another size the table is interpolated (bicubic), which is logged once per size.

    Args:
        channels: width of the tokens.
        height: rows of the table.
        width: columns of the table.
    """

    def __init__(self, channels: int, *, height: int = 20, width: int = 36) -> None:
        super().__init__()
        self.channels = channels
        self.table = nn.Parameter(torch.randn(height, width, channels) * 0.02)
        self._logged: set[tuple[int, int]] = set()

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, T, H, W, C)` with their positions."""
        size = (x.shape[2], x.shape[3])
        if size == tuple(self.table.shape[:2]):
            return x + self.table.to(x.dtype)
        if size not in self._logged:
            self._logged.add(size)
            logger.info("positions of %dx%d tokens interpolated to %dx%d", *self.table.shape[:2], *size)
        table = F.interpolate(self.table.permute(2, 0, 1).unsqueeze(0), size, mode="bicubic", align_corners=False)
        return x + table.squeeze(0).permute(1, 2, 0).to(x.dtype)


class SinePositions(nn.Module):
    """Sines and cosines of time, row and column, a third of the channels each (VisTR, Wang et al., CVPR 2021).

    A coordinate is the number of the cell among those that are no padding, counted from 1, as a part of the whole axis
    times 2 pi; so clips of any length and size work. Channels that three equal even parts leave over are 0.

    Args:
        channels: width of the tokens, at least 6.
        temperature: of the frequencies.
    """

    def __init__(self, channels: int, *, temperature: float = 10000.0) -> None:
        super().__init__()
        self.channels = channels
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, T, H, W, C)` with their positions."""
        return x + self.encode(x).to(x.dtype)

    def encode(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """The positions alone.

        Args:
            x: `(B, T, H, W, C)`; only its shape and device matter.
            padding: `(B, T, H, W)` bool, True for tokens that are no part of the clip.

        Returns:
            `(B, T, H, W, C)` float32, or with a batch of 1 if there is no padding.
        """
        inside = torch.ones((1, *x.shape[1:4]), device=x.device) if padding is None else (~padding).float()
        features = self.channels // 6 * 2
        index = torch.arange(features, device=x.device)
        divisor = self.temperature ** (2 * (index // 2) / features)
        parts = []
        for axis in (1, 2, 3):
            count = inside.cumsum(axis)
            part = count / (count.narrow(axis, count.shape[axis] - 1, 1) + 1e-6) * (2 * math.pi)
            angle = part.unsqueeze(-1) / divisor
            parts.append(torch.where(index % 2 == 0, angle.sin(), angle.cos()))
        return F.pad(torch.cat(parts, dim=-1), (0, self.channels - 3 * features))
