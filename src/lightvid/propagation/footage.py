"""A video with holes as propagation sees it: frames and the motion between them, made when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import cv2
import numpy as np

from lightvid.errors import ConfigurationError
from lightvid.flow import Motion, motion_between
from lightvid.flow.membrane import membrane
from lightvid.flow.regions import Field, Image, Region, widened
from lightvid.inpainting.video import MaskedVideo
from lightvid.propagation.recent import Recent

# The shorter side of the frames that motion is measured on; larger ones are reduced by a whole number.
WORKING_SIDE = 360
# Frames on each side that one is filled from.
REACH = 30
# Frames that are read at once: a video file is opened once for them.
BLOCK = 8


@dataclass(frozen=True)
class Still:
    """One frame.

    Attributes:
        picture: `(H, W, 3)` RGB, its hole filled smoothly from its border.
        small: `(h, w, 3)`, the picture at the size of the flow.
        small_hole: `(h, w)`, where any part is hidden.
        known: `(h, w)`, 255 where a colour may be taken from, 0 in the hole and beside it.
    """

    picture: Image
    small: Image
    small_hole: Region
    known: Image


class Footage:
    """Frames of a video and the motion from each to the next, kept while a window of frames moves through the video.

    Args:
        video: with holes; what they hide is not looked at.
        reach: frames on each side that one frame is filled from.
        places: how many such windows move through the video in turn.
    """

    def __init__(self, video: MaskedVideo, *, reach: int, places: int = 1) -> None:
        self.video = video
        self.reach = reach
        self.shape = video.size()
        self.ratio = ceil(min(self.shape) / WORKING_SIDE)
        self.small_shape = ceil(self.shape[0] / self.ratio), ceil(self.shape[1] / self.ratio)
        kept = places * (2 * reach + 2 * BLOCK)
        self._blocks: Recent[tuple[Image, Region]] = Recent(3 * places)
        self._stills: Recent[Still] = Recent(kept)
        self._motions: Recent[Motion] = Recent(kept)

    def __len__(self) -> int:
        return len(self.video)

    def read(self, index: int) -> tuple[Image, Region]:
        """A frame as it is, `(H, W, 3)`, and its hole, `(H, W)`."""
        block, place = divmod(index, BLOCK)
        frames, holes = self._blocks.get(block, self._read_block)
        return frames[place], holes[place]

    def still(self, index: int) -> Still:
        """A frame, its hole filled smoothly."""
        return self._stills.get(index, self._make_still)

    def motion(self, index: int) -> Motion:
        """From a frame to the next."""
        return self._motions.get(index, self._measure_motion)

    def flow(self, first: int, second: int) -> Field:
        """`(h, w, 2)` flow from a frame to the one before or after it, completed in the holes."""
        motion = self.motion(min(first, second))
        return motion.forward if first < second else motion.backward

    def reduced(self, image: Field) -> Field:
        """An image of the size of the frames at the size of the flow, averaged over the area of each pixel."""
        if self.ratio == 1:
            return image
        return np.asarray(cv2.resize(image, self.small_shape[::-1], interpolation=cv2.INTER_AREA), np.float32)

    def _read_block(self, block: int) -> tuple[Image, Region]:
        indices = range(block * BLOCK, min((block + 1) * BLOCK, len(self)))
        return self.video.read(indices), self.video.read_masks(indices) > 0

    def _make_still(self, index: int) -> Still:
        frame, hole = self.read(index)
        filled = membrane(frame, hole)
        small_hole = self.reduced(hole.astype(np.float32)) > 0
        known = np.where(widened(small_hole, 1), 0, 255).astype(np.uint8)
        return Still(_rounded(filled), _rounded(self.reduced(filled)), small_hole, known)

    def _measure_motion(self, index: int) -> Motion:
        first, second = self.still(index), self.still(index + 1)
        return motion_between(first.small, second.small, first.small_hole, second.small_hole)


def _rounded(picture: Field) -> Image:
    return picture.round().astype(np.uint8)


def checked_reach(reach: int) -> int:
    """The reach, if there can be one.

    Raises:
        ConfigurationError: it is below 1.
    """
    if reach < 1:
        raise ConfigurationError(f"reach={reach}: expected at least 1 frame")
    return reach
