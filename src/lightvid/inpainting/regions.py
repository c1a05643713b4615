"""Restoring large frames at the size that a network works at: only the region around the holes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np

from lightvid.errors import ConfigurationError
from lightvid.inpainting.boxes import OVERLAP, Box, BoxSizes, Segment, batches, segments
from lightvid.inpainting.tensors import composite
from lightvid.inpainting.video import Frames, MaskedVideo, Restorer


class RegionRestorer:
    """Gives another restorer a box around the holes, at most so large, and pastes what it answers; a `Restorer`.

    The box contains the holes of all frames of a segment (see `segments`) and surroundings. It is cut out of the whole
    video, so that the restorer may look at any other frame, and scaled down where it is larger than the working size.
    Where one segment gives way to the next, their results are faded over the frames that they share. Only the pixels of
    holes are taken; all others keep their values and their resolution. Frames that are not larger than the working size
    go to the restorer as they are.

    The masks are read once more, in small batches, before the frames of a segment.

    Args:
        restorer: of the regions.
        working_size: height and width of a region, in pixels.
        context: known surroundings on each side of the holes, at least, in parts of their height and width.

    Raises:
        ConfigurationError: a size or a context that cannot be.
    """

    def __init__(self, restorer: Restorer, *, working_size: tuple[int, int] = (240, 432), context: float = 0.5) -> None:
        if min(working_size) < 1 or context < 0:
            raise ConfigurationError(
                f"working_size={tuple(working_size)}, context={context}: expected a height and a width of at least 1"
                " pixel, and a context of at least 0"
            )
        self.restorer = restorer
        self.working_size = (working_size[0], working_size[1])
        self.context = context

    def restore(self, video: MaskedVideo, *, start: int = 0) -> Iterator[Frames]:
        """See `Restorer.restore`."""
        sizes = BoxSizes(video.size(), self.working_size, self.context)
        if all(side <= working for side, working in zip(video.size(), self.working_size, strict=True)):
            yield from self.restorer.restore(video, start=start)
            return
        video = _OneReader(video)
        fading: dict[int, Frames] = {}
        for segment in segments(video, sizes):
            stop = segment.frames.stop
            shared = range(stop if stop == len(video) else stop - OVERLAP, stop)  # with the segment that follows
            first = max(start, segment.frames.start)
            for index, frame in enumerate(self._restore(video, segment, sizes, first), first):
                if index in fading:
                    frame = _fade(fading.pop(index), frame, index - segment.frames.start + 1)
                if index in shared:
                    fading[index] = frame
                else:
                    yield frame

    def _restore(self, video: MaskedVideo, segment: Segment, sizes: BoxSizes, start: int) -> Iterator[Frames]:
        """The frames of a segment from `start` on, at the video's size."""
        indices = range(start, segment.frames.stop)
        if segment.box is None or not indices:
            for part in batches(indices, video.size()):
                yield from video.read(part)
            return
        region = CroppedVideo(video, segment.box, sizes.reduced(segment.box))
        for index, patch in zip(indices, self.restorer.restore(region, start=start), strict=False):
            (frame,), (mask,) = video.read([index]), video.read_masks([index])
            yield _paste(frame, mask, patch, segment.box)


@dataclass(frozen=True)
class CroppedVideo:
    """A `MaskedVideo` of a part of another one, scaled down.

    Frames are averaged over the area of each new pixel. A new pixel is a hole if any part of its area is one.

    Attributes:
        video: the whole.
        box: the part.
        working: height and width to scale to; no scaling if they are the box's.
    """

    video: MaskedVideo
    box: Box
    working: tuple[int, int]

    def __len__(self) -> int:
        return len(self.video)

    def size(self) -> tuple[int, int]:
        """See `MaskedVideo.size`."""
        return self.working

    def read(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read`."""
        cropped = np.empty((len(indices), *self.working, 3), np.uint8)
        parts = batches(indices, self.video.size())
        for place, frame in enumerate(frame for part in parts for frame in self.video.read(part)):
            cropped[place] = _resize(self.box.cut(frame), self.working)
        return cropped

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read_masks`."""
        cropped = np.empty((len(indices), *self.working), np.uint8)
        parts = batches(indices, self.video.size())
        for place, mask in enumerate(mask for part in parts for mask in self.video.read_masks(part)):
            # In floats, as bytes would round a hole that covers little of a pixel to nothing.
            cropped[place] = _resize((self.box.cut(mask) > 0).astype(np.float32), self.working) > 0
        return cropped


class _OneReader:
    """A `MaskedVideo` that is read by one thread at a time: a restorer may read ahead in another."""

    def __init__(self, video: MaskedVideo) -> None:
        self.video = video
        self.lock = Lock()

    def __len__(self) -> int:
        return len(self.video)

    def size(self) -> tuple[int, int]:
        return self.video.size()

    def read(self, indices: Sequence[int]) -> Frames:
        with self.lock:
            return self.video.read(indices)

    def read_masks(self, indices: Sequence[int]) -> Frames:
        with self.lock:
            return self.video.read_masks(indices)


def _resize(image: np.ndarray, size: tuple[int, int], *, method: int = cv2.INTER_AREA) -> np.ndarray:
    return image if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=method)


def _paste(frame: Frames, mask: Frames, patch: Frames, box: Box) -> Frames:
    """The frame with the patch, scaled to the box, inside the hole."""
    if not mask.any():
        return frame
    pasted = frame.copy()
    region = _resize(patch, box.size(), method=cv2.INTER_CUBIC)
    box.cut(pasted)[:] = composite(box.cut(frame), box.cut(mask), region)
    return pasted


def _fade(before: Frames, after: Frames, step: int) -> Frames:
    """Step 1 to `OVERLAP` from one to the other; equal values stay as they are."""
    steps = OVERLAP + 1
    mixed = (steps - step) * before.astype(np.uint16) + step * after.astype(np.uint16)
    return ((mixed + steps // 2) // steps).astype(np.uint8)
