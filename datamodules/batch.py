"""What the data modules deliver: clips as bytes from the workers, as floats once they are on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import default_collate


class InpaintingBatch(NamedTuple):
    """Clips with holes, as tasks see them.

    Attributes:
        frames: `(B, T, 3, H, W)` float32 RGB in [-1, 1], without holes.
        masks: `(B, T, 1, H, W)` float32, 1 = hole.
        names: of the videos.
        files: of each clip, its path and frames, for messages.
        skipped: one line for each clip that could not be read and was replaced by another draw or, in validation,
            left out.
        local_frames: how many frames of each clip, the first ones, are its own; those after them are references,
            sparse frames of the same video.
    """

    frames: Tensor
    masks: Tensor
    names: list[str]
    files: list[str]
    skipped: list[str]
    local_frames: int


class ByteBatch(NamedTuple):
    """The same clips as the loaders give them: a quarter of the memory to send between processes and to a GPU.

    Attributes:
        frames: `(B, T, H, W, 3)` uint8 RGB, without holes.
        masks: `(B, T, H, W)` uint8, 1 = hole.
        names: see `InpaintingBatch`, as for all that follow.
    """

    frames: Tensor
    masks: Tensor
    names: list[str]
    files: list[str]
    skipped: list[str]
    local_frames: int

    def to_float(self) -> InpaintingBatch:
        """Scale the frames to [-1, 1], on the device where they are."""
        frames = self.frames.new_empty(self.frames.movedim(-1, 2).shape, dtype=torch.float32)
        frames.copy_(self.frames.movedim(-1, 2))
        # By a tensor: by a number, a GPU would multiply with its reciprocal and round otherwise than a CPU.
        frames.div_(frames.new_full((), 127.5)).sub_(1)
        return InpaintingBatch(frames, self.masks.unsqueeze(2).float(), *self[2:])


class InpaintingClip(NamedTuple):
    """One element of a `ByteBatch`, with the same attributes."""

    frames: Tensor
    masks: Tensor
    name: str
    file: str
    skipped: list[str]
    local_frames: int


class MissingClip(NamedTuple):
    """What stands in for a clip that could not be read and is not replaced.

    Attributes:
        skipped: the line that says why.
    """

    skipped: list[str]


def collate(clips: Sequence[InpaintingClip | MissingClip]) -> ByteBatch:
    """Put clips of one size together, without those that are missing; if all are, B, T, H and W are 0."""
    skipped = [line for clip in clips for line in clip.skipped]
    whole = [clip for clip in clips if isinstance(clip, InpaintingClip)]
    if not whole:
        nothing = torch.empty(0, 0, 0, 0, 3, dtype=torch.uint8)
        return ByteBatch(nothing, nothing[..., 0], [], [], skipped, 0)
    return ByteBatch(
        # In a worker this stacks straight into the memory that is shared with the main process.
        frames=default_collate([clip.frames for clip in whole]),
        masks=default_collate([clip.masks for clip in whole]),
        names=[clip.name for clip in whole],
        files=[clip.file for clip in whole],
        skipped=skipped,
        local_frames=whole[0].local_frames,
    )
