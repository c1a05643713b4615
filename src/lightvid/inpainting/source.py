"""A video in files and the holes in it, read frame by frame."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightvid.errors import ConfigurationError, DataError
from lightvid.inpainting.masks import Box, BoxMasks, MaskSource, NumberedMasks, dilate_masks, open_masks
from lightvid.inpainting.opening import open_frames
from lightvid.inpainting.pairing import check_pairs
from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.video.reading import ImageSequence
from lightvid.video.streaming import FrameStream

CACHE_BYTES = 128 * 2**20  # of frames, and as much of masks: windows read a frame more than once
MASKS_AT_ONCE = 16


def open_masked_video(
    video: str | Path,
    masks: str | Path | None = None,
    *,
    boxes: Sequence[Box] = (),
    instances: Collection[int] = (),
    threshold: int | None = None,
    invert: bool = False,
    dilate: int = 4,
) -> MaskedFiles:
    """Open a video and its masks, without decoding more than a frame.

    Args:
        video: a video file, a folder of images or a .zip of them.
        masks: likewise, one for each frame, or one image for all frames. Either these or `boxes`.
        boxes: holes at the same place in every frame: x, y, width, height in pixels.
        instances: see `open_masks`.
        threshold: see `open_masks`.
        invert: what the masks mark is known, and all else is hole.
        dilate: by how many pixels to grow the holes (a 3x3 cross, so often); published networks were measured with 4.

    Returns:
        A `MaskedVideo`. Close it, or use it as a context manager.

    Raises:
        DataError: something is missing or broken, or frames and masks do not belong together.
        ConfigurationError: neither masks nor boxes, or both; or options of masks that do not go together.
    """
    if (masks is None) == (not boxes):
        raise ConfigurationError("holes: give either masks or boxes")
    if boxes and (instances or threshold is not None):
        raise ConfigurationError("boxes: instances and threshold are of masks in files (leave them out)")
    frames = open_frames(video)
    source = (
        BoxMasks(boxes, frames.size()) if masks is None else open_masks(masks, instances=instances, threshold=threshold)
    )
    notes = check_pairs(source, frames)
    _check_size(source.label, source.size(), frames.size())
    return MaskedFiles(frames, source, invert=invert, dilate=dilate, notes=notes)


class MaskedFiles(MaskedVideo):
    """See `open_masked_video`. Several threads may read.

    Attributes:
        frames: the clip itself.
        notes: what was taken for granted of the masks, one line each.
    """

    def __init__(
        self,
        frames: FrameStream | ImageSequence,
        masks: MaskSource,
        *,
        invert: bool = False,
        dilate: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        self.frames = frames
        self.notes = notes
        self._masks = masks
        self._invert = invert
        self._dilate = dilate
        self._size = frames.size()
        self._frame_cache = _Cache(CACHE_BYTES)
        self._mask_cache = _Cache(CACHE_BYTES)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.frames)

    def __enter__(self) -> MaskedFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if isinstance(self.frames, FrameStream):
            self.frames.close()

    def size(self) -> tuple[int, int]:
        """See `MaskedVideo.size`."""
        return self._size

    def read(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read`."""
        with self._lock:
            return self._frame_cache.read(indices, self._decode)

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read_masks`."""
        with self._lock:
            return self._mask_cache.read([0] * len(indices) if self.same_masks else indices, self._decode_masks)

    def check_instances(self) -> None:
        """See `NumberedMasks.check_instances`."""
        if isinstance(self._masks, NumberedMasks):
            self._masks.check_instances()

    @property
    def same_masks(self) -> bool:
        """Whether the holes are the same in every frame."""
        return len(self._masks.names) == 1

    def _decode(self, index: int) -> Frames:
        frame = self.frames.read([index])[0]
        _check_size(f"{self.frames.path}: frame {self.frames.frame_names[index]}", frame.shape[:2], self._size)
        return frame

    def _decode_masks(self, index: int) -> Frames:
        masks = self._masks.read([index])
        _check_size(f"{self._masks.label}: mask {self._masks.names[index]}", masks.shape[1:], self._size)
        return dilate_masks(1 - masks if self._invert else masks, self._dilate)[0]


@dataclass(frozen=True)
class Holes:
    """What there is to do in a video.

    Attributes:
        any: some pixel of some frame is hole.
        all: every pixel of every frame is.
    """

    any: bool
    all: bool


def survey(video: MaskedFiles) -> Holes:
    """Read all masks once, in small parts; what is broken shows before hours of work.

    Raises:
        DataError: a mask cannot be read, or is of another size than the frames; or none has an object that was asked
            for.
    """
    some, every = False, True
    length = 1 if video.same_masks else len(video)
    for start in range(0, length, MASKS_AT_ONCE):
        masks = video.read_masks(range(start, min(start + MASKS_AT_ONCE, length)))
        some, every = some or bool(masks.any()), every and bool(masks.all())
    video.check_instances()
    return Holes(some, every)


class _Cache:
    """The frames that were read last, up to so many bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._kept: OrderedDict[int, Frames] = OrderedDict()

    def read(self, indices: Sequence[int], decode: Callable[[int], Frames]) -> Frames:
        return np.stack([self._one(index, decode) for index in indices])

    def _one(self, index: int, decode: Callable[[int], Frames]) -> Frames:
        if index not in self._kept:
            self._kept[index] = decode(index)
            self._bytes += self._kept[index].nbytes
        self._kept.move_to_end(index)
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return self._kept[index]


def _check_size(label: str, size: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if size != wanted:
        raise DataError(f"{label}: {size[1]}x{size[0]} pixels for a video of {wanted[1]}x{wanted[0]} (scale it)")
