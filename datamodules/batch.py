"""What the data modules deliver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import default_collate


class InpaintingBatch(NamedTuple):
    """Clips with holes.

    Attributes:
        frames: `(B, T, 3, H, W)` float32 RGB in [-1, 1], without holes.
        masks: `(B, T, 1, H, W)` float32, 1 = hole.
        names: of the videos.
        files: of each clip, its path and frames, for messages.
        skipped: one line for each clip that could not be read and was replaced by another draw.
    """

    frames: Tensor
    masks: Tensor
    names: list[str]
    files: list[str]
    skipped: list[str]


class InpaintingClip(NamedTuple):
    """One element of a batch, with the same attributes."""

    frames: Tensor
    masks: Tensor
    name: str
    file: str
    skipped: list[str]


def collate(clips: Sequence[InpaintingClip]) -> InpaintingBatch:
    """Put clips of one size together."""
    return InpaintingBatch(
        # In a worker this stacks straight into the memory that is shared with the main process.
        frames=default_collate([clip.frames for clip in clips]),
        masks=default_collate([clip.masks for clip in clips]),
        names=[clip.name for clip in clips],
        files=[clip.file for clip in clips],
        skipped=[line for clip in clips for line in clip.skipped],
    )
