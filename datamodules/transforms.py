"""Resizing and augmentation, one draw for all frames of a clip."""

from __future__ import annotations

from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray
from torch.nn import functional as F


class ClipTransform:
    """Resize clips and augment them.

    Args:
        height: of the result, in pixels.
        width: of the result, in pixels.
        horizontal_flip: probability.
        colour_jitter: strength of brightness, contrast, saturation and hue changes: factors within 1 +- this, and a
            quarter of it for hue; 0 leaves the colours alone.
    """

    def __init__(self, height: int, width: int, *, horizontal_flip: float = 0.0, colour_jitter: float = 0.0) -> None:
        self.height = height
        self.width = width
        self.resize = A.Compose([ResizeClip(height, width)])
        steps: list[A.BasicTransform] = []
        if horizontal_flip:
            steps.append(A.HorizontalFlip(p=horizontal_flip))
        if colour_jitter:
            factors = (max(0.0, 1 - colour_jitter), 1 + colour_jitter)
            hue = (-min(0.5, colour_jitter / 4), min(0.5, colour_jitter / 4))
            steps.append(A.ColorJitter(brightness=factors, contrast=factors, saturation=factors, hue=hue, p=1.0))
        self.augment = A.Compose(steps) if steps else None

    def __call__(
        self, frames: NDArray[np.uint8], masks: NDArray[np.uint8] | None, seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """Transform a clip, and the masks that belong to its picture.

        Args:
            frames: `(T, h, w, 3)` RGB.
            masks: `(T, h', w')`, or None where the masks do not follow the picture.
            seed: of the augmentation: the same seed is the same draw, in any process.

        Returns:
            `(T, height, width, 3)` and `(T, height, width)`.
        """
        frames = self.resize(images=frames)["images"]
        masks = None if masks is None else resize_masks(masks, self.height, self.width)
        if self.augment is None:
            return frames, masks
        # Without this, the library repeats one random stream in all workers and all epochs.
        self.augment.set_random_seed(seed)
        # The frames are given as one tall picture, without a copy: all steps work within rows or on pixels.
        result = self.augment(image=frames.reshape(-1, *frames.shape[2:]), mask=_tall(masks))
        frames = np.asarray(result["image"]).reshape(frames.shape)
        return frames, None if masks is None else np.asarray(result["mask"]).reshape(masks.shape)


def _tall(masks: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
    return None if masks is None else masks.reshape(-1, masks.shape[2])


class ResizeClip(A.DualTransform):
    """Resizing as a step of albumentations, with the filter of the published recipes, which OpenCV does not have."""

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, height: int, width: int) -> None:
        super().__init__(p=1.0)
        self.height = height
        self.width = width

    def apply(self, img: NDArray[np.uint8], **params: Any) -> NDArray[np.uint8]:
        """One frame `(h, w, 3)`."""
        return resize_frames(img[None], self.height, self.width)[0]

    def apply_to_images(self, images: NDArray[np.uint8], *args: Any, **params: Any) -> NDArray[np.uint8]:
        """All frames `(T, h, w, 3)`."""
        return resize_frames(images, self.height, self.width)

    def apply_to_mask(self, mask: NDArray[np.uint8], *args: Any, **params: Any) -> NDArray[np.uint8]:
        """One mask `(h, w)`."""
        return resize_masks(mask[None], self.height, self.width)[0]


def resize_frames(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize `(T, h, w, 3)` frames with an antialiased bicubic filter, equal to Pillow's within rounding.

    The released video inpainting networks were trained and measured on frames resized by Pillow.
    """
    if frames.shape[1:3] == (height, width):
        return frames
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return F.interpolate(planes, (height, width), mode="bicubic", antialias=True).permute(0, 2, 3, 1).numpy()


def resize_masks(masks: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize `(T, h, w)` masks by the pixel at each pixel's centre, so that they lie on their frames."""
    if masks.shape[1:] == (height, width):
        return masks
    return np.stack([cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for mask in masks])
