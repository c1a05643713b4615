"""Where other frames show what a hole hides: positions followed through time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from lightvid.flow.regions import Box, Field, Region, inside, length, pixel_positions, sample
from lightvid.propagation.footage import Footage

# Forward and backward flow may disagree by so many pixels at each step.
DISAGREEMENT = 1.5


@dataclass(frozen=True)
class Sighting:
    """Another frame that shows part of a hole.

    Attributes:
        frame: its index.
        positions: `(h, w, 2)`, where it shows the pixels of a box around the hole.
        seen: `(h, w)`, whether it shows them.
        drift: `(h, w)`, summed disagreement of forward and backward flow on the way, in pixels.
    """

    frame: int
    positions: Field
    seen: Region
    drift: Field


def along_flow(footage: Footage, index: int, box: Box, step: int) -> Iterator[Sighting]:
    """Follow the flow from frame to frame; a pixel is lost where forward and backward flow disagree."""
    hole = footage.still(index).small_hole[box]
    positions = pixel_positions(*footage.small_shape)[box]
    followed, drift = np.ones(hole.shape, bool), np.zeros(hole.shape, np.float32)
    for frame in _frames(footage, index, step):
        moved = sample(footage.flow(frame - step, frame), positions)
        positions = positions + moved
        disagreement = length(moved + sample(footage.flow(frame, frame - step), positions))
        drift = drift + disagreement
        followed &= (disagreement < DISAGREEMENT) & inside(positions, *footage.small_shape)
        if not (followed & hole).any():
            return
        yield Sighting(frame, positions, followed & _known(footage, frame, positions), drift)


def along_camera(footage: Footage, index: int, box: Box, step: int) -> Iterator[Sighting]:
    """Follow the camera's motion alone, as what stands still and is passed by others does."""
    start = np.ascontiguousarray(pixel_positions(*footage.small_shape)[box])
    camera, drift = np.eye(3), np.zeros(start.shape[:2], np.float32)
    for frame in _frames(footage, index, step):
        between = footage.motion(min(frame, frame - step)).camera
        camera = (between if step == 1 else np.linalg.inv(between)) @ camera
        positions = np.asarray(cv2.perspectiveTransform(start, camera), np.float32)
        seen = inside(positions, *footage.small_shape) & _known(footage, frame, positions)
        yield Sighting(frame, positions, seen, drift)


def _frames(footage: Footage, index: int, step: int) -> range:
    """Frames on one side within reach, the nearest first."""
    if step == 1:
        return range(index + 1, min(index + footage.reach + 1, len(footage)))
    return range(index - 1, max(index - footage.reach - 1, -1), -1)


def _known(footage: Footage, frame: int, positions: Field) -> Region:
    return np.asarray(sample(footage.still(frame).known, positions) > 252)
