"""Filling a frame's hole with what other frames show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightvid.flow.regions import Image, Region, box_around
from lightvid.propagation.enlarging import Enlargement
from lightvid.propagation.footage import Footage
from lightvid.propagation.fusion import fuse
from lightvid.propagation.gathering import gather
from lightvid.propagation.recent import Recent

# Known pixels around a hole by which sightings of it are judged.
SURROUNDINGS = 24


@dataclass(frozen=True)
class Propagated:
    """A frame after propagation.

    Attributes:
        frame: `(H, W, 3)` RGB; what remains hidden is as it was.
        remaining: `(H, W)`, the part of the hole that no other frame shows.
    """

    frame: Image
    remaining: Region


class Propagation:
    """Frames of a video whose holes are filled from the frames within reach; the last few are kept.

    Args:
        footage: of the video.
        kept: frames.
    """

    def __init__(self, footage: Footage, *, kept: int) -> None:
        self.footage = footage
        self._frames: Recent[Propagated] = Recent(kept)

    def frame(self, index: int) -> Propagated:
        """A frame with its hole filled where another frame shows what it hides."""
        return self._frames.get(index, self._propagated)

    def _propagated(self, index: int) -> Propagated:
        frame, hole = self.footage.read(index)
        if not hole.any():
            return Propagated(frame, hole)
        box = box_around(self.footage.still(index).small_hole, margin=SURROUNDINGS)
        evidence = gather(self.footage, index, box)
        if not evidence:
            return Propagated(frame, hole)
        colours, believed = fuse(self.footage, box, evidence)
        large = Enlargement(self.footage, box).box
        frame, remaining = frame.copy(), hole.copy()
        believed &= hole[large]
        frame[large][believed] = np.clip(colours[believed].round(), 0, 255)
        remaining[large][believed] = False
        return Propagated(frame, remaining)
