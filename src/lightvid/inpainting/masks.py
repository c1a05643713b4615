"""Where the holes of a video are: images, one image for all frames, a mask video, boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.errors import ConfigurationError, DataError
from lightvid.inpainting.opening import open_frames
from lightvid.video.reading import IMAGE_SUFFIXES, FrameFolder, ImageSequence
from lightvid.video.streaming import FrameStream

LOSSY = (".jpg", ".jpeg")
LOSSY_THRESHOLD = 128  # a codec blurs edges and makes black slightly grey
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

Masks = NDArray[np.uint8]
Box = tuple[int, int, int, int]


class MaskSource(ABC):
    """Holes by frame number.

    Attributes:
        label: what to call it in messages.
        names: of its images, without suffix; the frames' numbers in a video file. A single one holds for all frames.
        named: the names are those of files.
    """

    label: str
    names: list[str]
    named = False

    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> Masks:
        """`(N, H, W)`, 1 = hole.

        Raises:
            DataError: a mask cannot be read.
        """


def open_masks(path: str | Path, *, instances: Collection[int] = (), threshold: int | None = None) -> MaskSource:
    """Open masks that lie in files.

    Args:
        path: a folder or .zip of images, one image for all frames, or a video file.
        instances: numbers of objects (palette indices or grey values) whose pixels are holes; all but 0 if empty.
        threshold: the least brightness of a hole, 1 to 255. If not given, everything but black is hole in PNG images,
            and 128 is the threshold in JPEG images and videos, which do not store black exactly.

    Raises:
        DataError: missing, or no masks; `instances` in a format that does not store them, or not exactly.
        ConfigurationError: both `instances` and `threshold`, or a threshold that is no brightness.
    """
    if instances and threshold is not None:
        raise ConfigurationError("masks: holes are either some objects (instances) or what is bright (threshold)")
    if threshold is not None and not 1 <= threshold <= 255:
        raise ConfigurationError(f"threshold={threshold}: expected a brightness of 1 to 255")
    path = Path(path)
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        frames: FrameStream | ImageSequence = FrameFolder(path.parent, path.stem, [path.name])
    else:
        frames = open_frames(path, what="masks")
    lossy = isinstance(frames, FrameStream) or frames.frame_names[0].lower().endswith(LOSSY)
    if instances and lossy:
        raise DataError(f"{path}: numbers of objects need PNG masks, which store them exactly")
    if isinstance(frames, FrameStream) or threshold is not None or lossy:
        return BrightMasks(frames, threshold or LOSSY_THRESHOLD, label=str(path))
    if instances and not frames.kind().numbered:
        raise DataError(f"{path}: numbers of objects need palette or grey PNG masks of 8 bits, these are coloured")
    return NumberedMasks(frames, instances, label=str(path))


class BrightMasks(MaskSource):
    """Images or a video, whose bright pixels are holes; of a coloured one its brightest channel counts."""

    def __init__(self, frames: FrameStream | ImageSequence, threshold: int, *, label: str) -> None:
        self.label = label
        self.names = _names(frames)
        self.named = isinstance(frames, ImageSequence)
        self._frames = frames
        self._threshold = threshold

    def size(self) -> tuple[int, int]:
        """See `MaskSource.size`."""
        return self._frames.size()

    def read(self, indices: Sequence[int]) -> Masks:
        """See `MaskSource.read`."""
        return (self._frames.read(indices).max(axis=-1) >= self._threshold).astype(np.uint8)


class NumberedMasks(MaskSource):
    """Images whose pixels are numbers of objects, 0 for none."""

    named = True

    def __init__(self, frames: ImageSequence, instances: Collection[int], *, label: str) -> None:
        self.label = label
        self.names = _names(frames)
        self._frames = frames
        self._instances = list(instances)
        self._seen: set[int] = set()

    def size(self) -> tuple[int, int]:
        """See `MaskSource.size`."""
        return self._frames.size()

    def read(self, indices: Sequence[int]) -> Masks:
        """See `MaskSource.read`."""
        numbers = self._frames.read_masks(indices)
        if self._instances:
            self._seen.update(np.flatnonzero(np.bincount(numbers.ravel())).tolist())
        return (np.isin(numbers, self._instances) if self._instances else numbers > 0).astype(np.uint8)

    def check_instances(self) -> None:
        """Refuse numbers of objects that none of the masks has which have been read.

        Raises:
            DataError: naming them.
        """
        if absent := sorted(set(self._instances) - self._seen):
            present = ", ".join(map(str, sorted(self._seen - {0}))) or "none"
            raise DataError(
                f"{self.label}: no mask has object {', '.join(map(str, absent))} (in them: {present}; choose of these)"
            )


class BoxMasks(MaskSource):
    """The same rectangles in every frame.

    Args:
        boxes: x, y, width, height of each in pixels, from the top left.
        size: height and width of the frames.

    Raises:
        DataError: a box without area, or not inside the frame.
    """

    def __init__(self, boxes: Sequence[Box], size: tuple[int, int]) -> None:
        self.label = "boxes"
        self.names = ["boxes"]
        self._mask = np.zeros(size, np.uint8)
        for x, y, width, height in boxes:
            if min(x, y) < 0 or min(width, height) < 1 or x + width > size[1] or y + height > size[0]:
                raise DataError(
                    f"box {x},{y},{width},{height}: not inside the frame of {size[1]}x{size[0]}"
                    " (expected x,y,width,height)"
                )
            self._mask[y : y + height, x : x + width] = 1

    def size(self) -> tuple[int, int]:
        """See `MaskSource.size`."""
        height, width = self._mask.shape
        return height, width

    def read(self, indices: Sequence[int]) -> Masks:
        """See `MaskSource.read`."""
        return np.repeat(self._mask[None], len(indices), axis=0)


def dilate_masks(masks: Masks, iterations: int) -> Masks:
    """Grow the holes of `(N, H, W)` masks by a pixel up, down, left and right, so often."""
    if not iterations:
        return masks
    return np.stack([cv2.dilate(mask, CROSS, iterations=iterations) for mask in masks]).astype(np.uint8, copy=False)


def _names(frames: FrameStream | ImageSequence) -> list[str]:
    return [Path(name).stem for name in frames.frame_names]
