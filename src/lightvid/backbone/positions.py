"""Positions of tokens, added where they enter the backbone."""

from __future__ import annotations

import logging

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
