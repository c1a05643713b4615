"""Clips with instances: bytes from the workers; training clips become floats once they are on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightvid.annotations import InstanceTargets
from lightvid.video.preparation import normalise

from .batch import MissingClip


class VideoTruth(NamedTuple):
    """The annotated tracks of a whole video, for its evaluation.

    Attributes:
        video_id: in the annotation file.
        name: of the video.
        height: of the frames as they are annotated, in pixels.
        width: likewise.
        length: frames.
        tracks: records as in the file, crowds among them: `id`, `video_id`, `category_id`, `iscrowd`, `segmentations`
            (compressed run lengths or None, of each frame) and `areas` (numbers or None).
    """

    video_id: int
    name: str
    height: int
    width: int
    length: int
    tracks: list[dict[str, Any]]


class InstanceBatch(NamedTuple):
    """Training clips with instances, as tasks see them; of whole videos they see an `InstanceByteBatch`.

    Attributes:
        frames: `(B, T, 3, H, W)` float32 RGB, normalised with ImageNet's mean and deviation; 0 in the padding.
        padding: `(B, T, H, W)` bool, True = padding, at the right and the bottom.
        targets: of each clip.
        names: of the videos.
        files: of each clip, its path and frames, for messages.
        skipped: one line for each clip that could not be read and was replaced by another draw.
    """

    frames: Tensor
    padding: Tensor
    targets: list[InstanceTargets]
    names: list[str]
    files: list[str]
    skipped: list[str]


class InstanceByteBatch(NamedTuple):
    """Clips with instances as the loaders give them, and whole videos also as tasks see them, on the CPU.

    Attributes:
        frames: `(B, T, H, W, 3)` uint8 RGB; 0 in the padding, which is at the right and the bottom.
        sizes: `(B, 2)` int64, height and width of each clip without its padding.
        targets: of each clip; in validation without any track.
        names: see `InstanceBatch`, as for `files`.
        skipped: likewise; in validation, clips that could not be read are left out.
        truth: of each video in validation; empty in training.
    """

    frames: Tensor
    sizes: Tensor
    targets: list[InstanceTargets]
    names: list[str]
    files: list[str]
    skipped: list[str]
    truth: list[VideoTruth]

    def to_float(self) -> InstanceBatch:
        """Normalise the frames and mark their padding, on the device where they are."""
        batch, length, height, width = self.frames.shape[:4]
        rows = torch.arange(height, device=self.frames.device).view(1, 1, height, 1)
        columns = torch.arange(width, device=self.frames.device).view(1, 1, 1, width)
        heights, widths = (side.view(batch, 1, 1, 1) for side in self.sizes.unbind(1))
        padding = ((rows >= heights) | (columns >= widths)).expand(batch, length, height, width)
        frames = normalise(self.frames).masked_fill_(padding.unsqueeze(2), 0)
        return InstanceBatch(frames, padding.contiguous(), self.targets, self.names, self.files, self.skipped)


class InstanceClip(NamedTuple):
    """One element of an `InstanceByteBatch`, unpadded: `frames` is `(T, H, W, 3)`; `truth` is None in training."""

    frames: Tensor
    targets: InstanceTargets
    name: str
    file: str
    skipped: list[str]
    truth: VideoTruth | None = None


class CollateInstances:
    """Put clips of one length together, padded at the right and the bottom to the largest size among them.

    Missing clips are left out; if all are missing, B, T, H and W are 0.

    Args:
        size_divisor: height and width of the batch become multiples of it.
    """

    def __init__(self, size_divisor: int = 1) -> None:
        self.size_divisor = size_divisor

    def __call__(self, clips: Sequence[InstanceClip | MissingClip]) -> InstanceByteBatch:
        """Make a batch."""
        skipped = [line for clip in clips for line in clip.skipped]
        whole = [clip for clip in clips if isinstance(clip, InstanceClip)]
        if not whole:
            nothing = torch.empty(0, 0, 0, 0, 3, dtype=torch.uint8)
            return InstanceByteBatch(nothing, torch.empty(0, 2, dtype=torch.int64), [], [], [], skipped, [])
        height, width = (
            -(-max(clip.frames.shape[axis] for clip in whole) // self.size_divisor) * self.size_divisor
            for axis in (1, 2)
        )
        frames = torch.zeros(len(whole), len(whole[0].frames), height, width, 3, dtype=torch.uint8)
        for padded, clip in zip(frames, whole, strict=True):
            padded[:, : clip.frames.shape[1], : clip.frames.shape[2]] = clip.frames
        return InstanceByteBatch(
            frames=frames,
            sizes=torch.tensor([clip.frames.shape[1:3] for clip in whole]),
            targets=[_pad_masks(clip.targets, height, width) for clip in whole],
            names=[clip.name for clip in whole],
            files=[clip.file for clip in whole],
            skipped=skipped,
            truth=[clip.truth for clip in whole if clip.truth is not None],
        )


def _pad_masks(targets: InstanceTargets, height: int, width: int) -> InstanceTargets:
    masks = targets.masks.new_zeros(*targets.masks.shape[:2], height, width)
    masks[..., : targets.masks.shape[2], : targets.masks.shape[3]] = targets.masks
    return targets._replace(masks=masks)
