"""Steps of albumentations for clips, given as `images` and `masks`.

Each draws once for all frames, the published colours excepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import albumentations as A
import cv2
import numpy as np
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

from lightvid.video.preparation import fit_size, resize_bilinear

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, height, width
NO_SIZE = (1, 1)
NO_BOX = (0, 0, 1, 1)


class ResizeShortest(A.DualTransform):
    """Resize to `fit_size`: frames as Pillow's bilinear filter does, masks to the nearest pixel's centre.

    Args:
        shortest: the shorter side in pixels; of several, one is drawn.
        longest: the most that the longer side may be.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, shortest: Sequence[int], longest: int | None) -> None:
        super().__init__(p=1.0)
        self.shortest = shortest
        self.longest = longest

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the size, for all frames."""
        height, width = params["shape"][-3:-1]
        shortest = self.shortest[int(self.random_generator.integers(len(self.shortest)))]
        return {"size": fit_size(height, width, shortest=shortest, longest=self.longest)}

    def apply_to_images(self, images: Bytes, size: tuple[int, int] = NO_SIZE, **params: Any) -> Bytes:
        """All frames `(T, h, w, 3)`."""
        return resize_bilinear(np.ascontiguousarray(images), *size)

    def apply_to_masks(self, masks: Bytes, size: tuple[int, int] = NO_SIZE, **params: Any) -> Bytes:
        """All masks `(N, h, w)`."""
        return np.stack([resize_mask(mask, *size) for mask in masks])


def resize_mask(mask: Bytes, height: int, width: int) -> Bytes:
    """Resize an `(h, w)` mask to the pixels whose centres are nearest, so that it does not shift against its frame."""
    if mask.shape == (height, width):
        return mask
    return np.asarray(cv2.resize(np.ascontiguousarray(mask), (width, height), interpolation=cv2.INTER_NEAREST_EXACT))


class CropAndResize(ResizeShortest):
    """Cut one region of the frame's aspect ratio out of all frames, and resize it to what the whole frame would have.

    Args:
        shortest: see `ResizeShortest`.
        longest: likewise.
        scale: the range of the part that the region has of the frame's sides.
    """

    def __init__(self, shortest: Sequence[int], longest: int | None, scale: tuple[float, float]) -> None:
        super().__init__(shortest, longest)
        self.scale = scale

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the size and the region, for all frames."""
        height, width = params["shape"][-3:-1]
        part = float(self.random_generator.uniform(*self.scale))
        region = max(1, round(part * height)), max(1, round(part * width))
        drawn = super().get_params_dependent_on_data(params, data)
        return {**drawn, "box": draw_box(self.random_generator, (height, width), region)}

    def apply_to_images(
        self, images: Bytes, size: tuple[int, int] = NO_SIZE, box: Box = NO_BOX, **params: Any
    ) -> Bytes:
        """All frames `(T, h, w, 3)`."""
        return super().apply_to_images(crop(images, box), size)

    def apply_to_masks(self, masks: Bytes, size: tuple[int, int] = NO_SIZE, box: Box = NO_BOX, **params: Any) -> Bytes:
        """All masks `(N, h, w)`."""
        return super().apply_to_masks(crop(masks, box), size)


class CropSides(A.DualTransform):
    """Keep a region whose height and width are drawn on their own, as in DETR (Carion et al., ECCV 2020).

    Args:
        limits: least and greatest side in pixels; a frame that is smaller keeps that side.
    """

    _targets = (Targets.IMAGE, Targets.MASK)

    def __init__(self, limits: tuple[int, int]) -> None:
        super().__init__(p=1.0)
        self.limits = limits

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the region, for all frames."""
        height, width = params["shape"][-3:-1]
        region = self._draw_side(height), self._draw_side(width)
        return {"box": draw_box(self.random_generator, (height, width), region)}

    def apply_to_images(self, images: Bytes, box: Box = NO_BOX, **params: Any) -> Bytes:
        """All frames `(T, h, w, 3)`."""
        return crop(images, box)

    def apply_to_masks(self, masks: Bytes, box: Box = NO_BOX, **params: Any) -> Bytes:
        """All masks `(N, h, w)`."""
        return crop(masks, box)

    def _draw_side(self, side: int) -> int:
        low, high = (min(limit, side) for limit in self.limits)
        return int(self.random_generator.integers(low, high + 1))


def draw_box(rng: np.random.Generator, frame: tuple[int, int], region: tuple[int, int]) -> Box:
    """Put a region (height, width) anywhere in a frame: top, left, height and width."""
    top, left = (int(rng.integers(side - part + 1)) for side, part in zip(frame, region, strict=True))
    return top, left, *region


def crop(pictures: Bytes, box: Box) -> Bytes:
    """Cut a region out of `(N, h, w, ...)` pictures, without a copy."""
    top, left, height, width = box
    return pictures[:, top : top + height, left : left + width]


class ClipColourJitter(A.ColorJitter):
    """`ColorJitter` with one grey mean for all frames, so that they change exactly alike."""

    def apply_to_images(self, images: Bytes, *args: Any, **params: Any) -> Bytes:
        """All frames `(T, h, w, 3)`, as one tall picture."""
        tall = np.ascontiguousarray(images).reshape(-1, *images.shape[2:])
        return np.asarray(self.apply(tall, **params)).reshape(images.shape)


class FrameColours(NamedTuple):
    """What `PhotometricDistortion` does to one frame."""

    brightness: float
    contrast: float
    contrast_first: bool
    saturation: float
    hue: float
    channels: tuple[int, ...]


class PhotometricDistortion(A.ImageOnlyTransform):
    """The colours of SSD (Liu et al., ECCV 2016), drawn for each frame on its own as published with VisTR.

    Each with probability 1/2: brightness +-32, contrast x 0.5 to 1.5 before or after the others, saturation x 0.5 to
    1.5, hue +-18 degrees, a permutation of the channels. The release lets bytes overflow; here they are clipped.
    """

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw for each frame."""
        return {"colours": [self._draw() for _ in data["images"]]}

    def apply_to_images(self, images: Bytes, colours: Sequence[FrameColours] = (), **params: Any) -> Bytes:
        """All frames `(T, h, w, 3)`."""
        return np.stack([distort_colours(frame, drawn) for frame, drawn in zip(images, colours, strict=True)])

    def _draw(self) -> FrameColours:
        rng = self.random_generator
        return FrameColours(
            brightness=rng.uniform(-32, 32) if rng.random() < 0.5 else 0.0,
            contrast=rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0,
            contrast_first=bool(rng.random() < 0.5),
            saturation=rng.uniform(0.5, 1.5) if rng.random() < 0.5 else 1.0,
            hue=rng.uniform(-18, 18) if rng.random() < 0.5 else 0.0,
            channels=tuple(rng.permutation(3).tolist()) if rng.random() < 0.5 else (0, 1, 2),
        )


def distort_colours(frame: Bytes, colours: FrameColours) -> Bytes:
    """Change the colours of one `(H, W, 3)` frame."""
    pixels = frame.astype(np.float32) + np.float32(colours.brightness)
    if colours.contrast_first:
        pixels *= np.float32(colours.contrast)
    if colours.saturation != 1 or colours.hue:
        hsv = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), np.float32)  # of floats: hue in degrees
        hsv[..., 0] = (hsv[..., 0] + colours.hue) % 360
        hsv[..., 1] *= np.float32(colours.saturation)
        pixels = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float32)
    if not colours.contrast_first:
        pixels *= np.float32(colours.contrast)
    return np.clip(pixels, 0, 255).astype(np.uint8)[..., colours.channels]
