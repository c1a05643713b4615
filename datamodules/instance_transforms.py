"""Resizing and augmenting clips together with the masks of their instances; boxes follow from the masks."""

from __future__ import annotations

from collections.abc import Sequence

import albumentations as A
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightvid.annotations import InstanceTargets
from lightvid.video.preparation import fit_size

from .augmentations import InstanceAugmentation
from .instance_steps import ResizeShortest

Bytes = NDArray[np.uint8]


class InstanceTransform:
    """Augment clips and resize them, keeping their aspect ratio.

    Args:
        shortest: the shorter side in pixels; of several, one is drawn for each clip.
        longest: the most that the longer side may be, see `fit_size`.
        augmentation: what is drawn for a clip; None only resizes.
    """

    def __init__(
        self, shortest: Sequence[int], longest: int | None, augmentation: InstanceAugmentation | None = None
    ) -> None:
        self.shortest = shortest
        self.longest = longest
        self.augmentation = augmentation
        fit = ResizeShortest(shortest, longest)
        self.compose = A.Compose([fit] if augmentation is None else augmentation.steps(fit))

    def least_size(self, height: int, width: int) -> tuple[int, int] | None:
        """The (height, width) at which frames of that size may be decoded without loss; None if at their own only."""
        part = 1.0 if self.augmentation is None else self.augmentation.smallest_part
        if part is None:
            return None
        least = fit_size(height, width, shortest=max(self.shortest), longest=self.longest)
        return int(-(-least[0] // part)), int(-(-least[1] // part))

    def __call__(self, frames: Bytes, masks: Bytes, seed: int) -> tuple[Bytes, Bytes]:
        """Transform a clip.

        Args:
            frames: `(T, h, w, 3)` RGB.
            masks: `(G, T, h, w)`, 0 or 1.
            seed: of the augmentation: the same seed is the same draw, in any process.

        Returns:
            `(T, H, W, 3)` and `(G, T, H, W)`.
        """
        # Without this, the library repeats one random stream in all workers and all epochs.
        self.compose.set_random_seed(seed)
        count, length = masks.shape[:2]
        if not count:
            frames = np.ascontiguousarray(self.compose(images=frames)["images"])
            return frames, np.zeros((0, length, *frames.shape[1:3]), np.uint8)
        result = self.compose(images=frames, masks=masks.reshape(-1, *masks.shape[2:]))
        frames, masks = (np.ascontiguousarray(result[key]) for key in ("images", "masks"))
        return frames, masks.reshape(count, length, *masks.shape[1:])


def make_targets(classes: Sequence[int], masks: Bytes) -> InstanceTargets:
    """What a network learns from masks; a track that is visible nowhere is dropped.

    Args:
        classes: `(G,)`, of each track.
        masks: `(G, T, H, W)`, 0 or 1.
    """
    tensor = torch.from_numpy(masks).bool()
    visible = tensor.flatten(2).any(dim=2)
    kept = visible.any(dim=1)
    labels = torch.tensor(classes, dtype=torch.int64).view(-1)
    return InstanceTargets(labels[kept], mask_boxes(tensor[kept]), visible[kept], tensor[kept])


def mask_boxes(masks: Tensor) -> Tensor:
    """The extents of `(..., H, W)` masks: `(..., 4)` float32 cx, cy, width, height in [0, 1]; 0 where one is empty."""
    height, width = masks.shape[-2:]
    left, right = _extent(masks.any(dim=-2))
    top, bottom = _extent(masks.any(dim=-1))
    corners = torch.stack([left / width, top / height, right / width, bottom / height], dim=-1)
    low, high = corners.split(2, dim=-1)
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def _extent(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last True along the last axis; 0 and 0 if there is none."""
    positions = torch.arange(occupied.shape[-1])
    first = torch.where(occupied, positions, occupied.shape[-1]).amin(dim=-1)
    last = torch.where(occupied, positions + 1, 0).amax(dim=-1)
    return torch.minimum(first, last), last
