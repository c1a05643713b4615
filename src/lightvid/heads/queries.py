"""Object queries: one for each instance and frame, in the order of the frames."""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.attention.cross import Memory
from lightvid.errors import ConfigurationError

logger = logging.getLogger(__name__)


class Queries(NamedTuple):
    """What a decoder starts from; Q = T * I, query `t * I + i` is instance i in frame t.

    Attributes:
        content: `(B, T, I, C)`.
        positions: `(B or 1, T, I, C)`, added wherever queries are compared.
        boxes: `(B, T, I, 4)`, logits of a first guess in [0, 1] of the clip without its padding; None if there is none.
        extra: see `InstanceOutput`.
    """

    content: Tensor
    positions: Tensor
    boxes: Tensor | None
    extra: dict[str, Tensor]


class LearnedQueries(nn.Module):
    """A learned vector for every instance in every frame (VisTR, Wang et al., CVPR 2021).

    For clips of another length the vectors are interpolated along time, which is logged once per length.

    Args:
        channels: width of the queries.
        instances: I, the most instances of a clip.
        frames: that the vectors are made for.
    """

    def __init__(self, channels: int, *, instances: int = 10, frames: int = 36) -> None:
        super().__init__()
        check_least(instances=instances, frames=frames)
        self.instances = instances
        self.table = nn.Parameter(torch.randn(frames, instances, channels))
        self._logged: set[int] = set()

    def forward(self, memory: Memory) -> Queries:
        """Queries for a clip."""
        frames = memory.tokens.shape[1]
        positions: Tensor = self.table
        if frames != len(positions):
            if frames not in self._logged:
                self._logged.add(frames)
                logger.info("queries of %d frames interpolated to %d", len(positions), frames)
            flat = positions.flatten(1).T.unsqueeze(0)
            flat = F.interpolate(flat, frames, mode="linear", align_corners=False)
            positions = flat[0].T.unflatten(1, self.table.shape[1:])
        positions = positions.unsqueeze(0)
        content = positions.new_zeros(len(memory.tokens), *positions.shape[1:])
        return Queries(content, positions, None, {})


class InstanceQueries(nn.Module):
    """A learned vector for each instance, and the sine of the time: for clips of any length.

    Args:
        channels: width of the queries, even.
        instances: I, the most instances of a clip.
    """

    def __init__(self, channels: int, *, instances: int = 10) -> None:
        super().__init__()
        check_least(instances=instances)
        self.instances = instances
        self.content = nn.Parameter(torch.randn(instances, channels))
        self.positions = nn.Parameter(torch.randn(instances, channels))
        self.time = nn.Linear(channels, channels)

    def forward(self, memory: Memory) -> Queries:
        """Queries for a clip."""
        batch, frames = memory.tokens.shape[:2]
        time = self.time(sine_of_time(torch.arange(frames, device=self.content.device), self.content.shape[1]))
        positions = (self.positions + time.unsqueeze(1)).unsqueeze(0)
        return Queries(self.content.expand(batch, frames, -1, -1), positions, None, {})


def sine_of_time(time: Tensor, channels: int) -> Tensor:
    """Sines and cosines of numbers of frames, `(..., channels)` (Vaswani et al., NeurIPS 2017, 3.5)."""
    exponent = torch.arange(0, channels, 2, device=time.device) / channels
    angle = time.unsqueeze(-1) * 1000.0**-exponent
    return torch.cat((angle.sin(), angle.cos()), dim=-1)[..., :channels]


def check_least(**counts: int) -> None:
    """Refuse counts below 1."""
    for name, value in counts.items():
        if value < 1:
            raise ConfigurationError(f"queries need at least 1 of {name}, got {value}")


def valid_part(padding: Tensor) -> Tensor:
    """The part of width and height that is no padding, `(B, T, 2)` as x, y, of `(B, T, H, W)`."""
    inside = ~padding
    return torch.stack((inside[:, :, 0].float().mean(-1), inside[:, :, :, 0].float().mean(-1)), dim=-1)
