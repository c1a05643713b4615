"""Completing optical flow where one of the two frames is hidden."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lightvid.flow.dis import dis_flow
from lightvid.flow.membrane import membrane
from lightvid.flow.regions import Field, Image, Region, box_around, channel_mean, pixel_positions, sample, widened

# Spoilt pixels around a hole in the second measurement, where both frames show one filling.
SPOILT_REFINED = 5
# Known pixels around what is spoilt that the second measurement looks at.
SURROUNDINGS = 32
# The camera's motion is kept where the flow explains the frames no better than by this share and these grey levels,
CAMERA_TOLERANCE = (0.3, 2.0)
# compared over windows of so many pixels.
WINDOW = (9, 9)


def completed_flow(
    flow: Field, first: Image, second: Image, first_hole: Region, second_hole: Region, *, camera: Field, spoilt: int
) -> Field:
    """Complete a flow inside the holes, align the frames by it, and measure again what is left.

    In the second measurement both frames show the same content in the holes, which therefore moves as the first
    completion says: its border no longer pulls at the flow around it.

    Args:
        flow: `(H, W, 2)` in pixels, x first, measured between the two frames.
        first: `(H, W, 3)`, its hole filled smoothly.
        second: likewise.
        first_hole: `(H, W)`.
        second_hole: likewise.
        camera: `(H, W, 2)`, the motion of most of the frame.
        spoilt: pixels around the holes where `flow` is wrong.

    Returns:
        `(H, W, 2)`; `flow` itself far from the holes.
    """
    positions = pixel_positions(*first_hole.shape)
    hidden = first_hole | _shown(second_hole, positions + camera)
    if not hidden.any():
        return flow
    box = box_around(hidden, margin=spoilt + SURROUNDINGS)
    pair = _Pair(first[box], second, positions[box], camera[box])
    near = pair.filled(flow[box], hidden[box], widened(hidden[box], spoilt))
    hidden_near = widened(first_hole[box] | _shown(second_hole, positions[box] + near), 1)
    near = pair.filled(pair.measured(near, hidden_near), hidden_near, widened(hidden_near, SPOILT_REFINED))
    completed = flow.copy()
    completed[box] = near
    return completed


def _shown(hole: Region, positions: Field) -> Region:
    return np.asarray(sample(hole.view(np.uint8), positions) > 0)


@dataclass(frozen=True)
class _Pair:
    """A part of a frame and the whole of another.

    Attributes:
        first: `(h, w, 3)`, the part.
        second: `(H, W, 3)`.
        positions: `(h, w, 2)`, where the part's pixels lie in its frame.
        camera: `(h, w, 2)`, motion that most of them follow.
    """

    first: Image
    second: Image
    positions: Field
    camera: Field

    def filled(self, flow: Field, hidden: Region, unknown: Region) -> Field:
        """The camera's motion and a smooth deviation from it, which is none where the camera's motion explains all."""
        relative, absolute = CAMERA_TOLERANCE
        visible = (~hidden).astype(np.float32)
        follows = self._error(self.camera, visible) <= (1 + relative) * self._error(flow, visible) + absolute
        deviation = np.where(follows[..., None], 0, flow - self.camera)
        return self.camera + membrane(deviation, unknown)

    def measured(self, flow: Field, hidden: Region) -> Field:
        """The flow after another measurement, between the frames that it aligns."""
        first = membrane(self.first, hidden).round().astype(np.uint8)
        aligned = np.where(hidden[..., None], first, sample(self.second, self.positions + flow)).astype(np.uint8)
        rest = dis_flow(first, aligned, preset="medium")
        return rest + sample(flow, pixel_positions(*hidden.shape) + rest)

    def _error(self, flow: Field, visible: Field) -> Field:
        """Mean difference of the frames aligned by a flow, in grey levels, around each pixel."""
        aligned = sample(self.second, self.positions + flow)
        difference = channel_mean(np.abs(self.first - aligned)) * visible
        count = cv2.boxFilter(visible, -1, WINDOW)
        return np.asarray(cv2.boxFilter(difference, -1, WINDOW) / np.maximum(count, 1e-3), np.float32)
