"""Random changes of a clip with instances: VisTR's published recipe, and one without its faults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import albumentations as A
import cv2

from lightvid.errors import ConfigurationError

from .instance_steps import ClipColourJitter, CropAndResize, CropSides, PhotometricDistortion, ResizeShortest

IMAGENET_GREY = (124, 116, 104)


class InstanceAugmentation(ABC):
    """What is drawn for a clip.

    Attributes:
        smallest_part: the least part of the frame's sides that may fill the result: frames may be decoded as much
            larger than the result as that needs; None decodes every pixel.
    """

    smallest_part: float | None = None

    @abstractmethod
    def steps(self, fit: ResizeShortest) -> list[A.BasicTransform]:
        """The changes in their order, among them `fit` or its like: it resizes to what the network sees."""


class CleanAugmentation(InstanceAugmentation):
    """One draw for the whole clip: mirroring, a crop that keeps the aspect ratio, rotation, colours.

    Args:
        horizontal_flip: probability.
        vertical_flip: probability.
        scale: the part of the frame's sides that the crop keeps, drawn from this range.
        rotation: up to so many degrees to either side; what is not seen becomes grey.
        colour_jitter: strength of brightness, contrast, saturation and hue changes: factors within 1 +- this, and a
            quarter of it for hue; 0 leaves the colours alone.
    """

    def __init__(
        self,
        *,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        scale: tuple[float, float] = (0.6, 1.0),
        rotation: float = 0.0,
        colour_jitter: float = 0.3,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ConfigurationError(f"scale must be two parts of the frame's side from 0 to 1, got {list(scale)}")
        if not 0 <= horizontal_flip <= 1 or not 0 <= vertical_flip <= 1:
            raise ConfigurationError("horizontal_flip and vertical_flip are probabilities from 0 to 1")
        if rotation < 0 or colour_jitter < 0:
            raise ConfigurationError("rotation and colour_jitter must be at least 0")
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.scale = scale
        self.rotation = rotation
        self.colour_jitter = colour_jitter
        self.smallest_part = scale[0]

    def steps(self, fit: ResizeShortest) -> list[A.BasicTransform]:
        """See `InstanceAugmentation.steps`."""
        steps: list[A.BasicTransform] = []
        if self.horizontal_flip:
            steps.append(A.HorizontalFlip(p=self.horizontal_flip))
        if self.vertical_flip:
            steps.append(A.VerticalFlip(p=self.vertical_flip))
        if self.rotation:
            limits = (-self.rotation, self.rotation)
            steps.append(A.Rotate(limits, border_mode=cv2.BORDER_CONSTANT, fill=IMAGENET_GREY, fill_mask=0, p=1.0))
        steps.append(CropAndResize(fit.shortest, fit.longest, self.scale))
        if self.colour_jitter:
            factors = (max(0.0, 1 - self.colour_jitter), 1 + self.colour_jitter)
            hue = (-min(0.5, self.colour_jitter / 4), min(0.5, self.colour_jitter / 4))
            steps.append(ClipColourJitter(brightness=factors, contrast=factors, saturation=factors, hue=hue, p=1.0))
        return steps


class PublishedAugmentation(InstanceAugmentation):
    """The recipe of VisTR (Wang et al., CVPR 2021), from DETR's and SSD's: two resizes about a crop, colours by frame.

    Two faults of the release are not followed: colours are clipped where its bytes overflow, and an instance that the
    crop leaves out is not kept as visible. The sizes are those of videos of some 720 pixels: lower all of them for
    small ones.

    Args:
        horizontal_flip: probability.
        first_shortest: the shorter side before the colours change, drawn from these, in pixels.
        first_longest: the most that the longer side may be then.
        second_shortest: the shorter side before the crop, drawn from these.
        crop: least and greatest side of the crop; both sides are drawn on their own.
    """

    def __init__(
        self,
        *,
        horizontal_flip: float = 0.5,
        first_shortest: Sequence[int] = tuple(range(480, 769, 32)),
        first_longest: int = 800,
        second_shortest: Sequence[int] = (400, 500, 600),
        crop: tuple[int, int] = (384, 600),
    ) -> None:
        if not 0 < crop[0] <= crop[1]:
            raise ConfigurationError(f"crop must be a least and a greatest side in pixels, got {list(crop)}")
        if not first_shortest or not second_shortest:
            raise ConfigurationError("first_shortest and second_shortest need at least one size each")
        self.horizontal_flip = horizontal_flip
        self.first_shortest = first_shortest
        self.first_longest = first_longest
        self.second_shortest = second_shortest
        self.crop = crop

    def steps(self, fit: ResizeShortest) -> list[A.BasicTransform]:
        """See `InstanceAugmentation.steps`."""
        return [
            A.HorizontalFlip(p=self.horizontal_flip),
            ResizeShortest(self.first_shortest, self.first_longest),
            PhotometricDistortion(),
            ResizeShortest(self.second_shortest, None),
            CropSides(self.crop),
            fit,
        ]
