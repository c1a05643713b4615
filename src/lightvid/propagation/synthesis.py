"""What no frame shows: smooth from its border, and steady over time."""

from __future__ import annotations

import numpy as np

from lightvid.flow.membrane import membrane
from lightvid.flow.regions import Box, Field, Image, box_around, pixel_positions, sample
from lightvid.propagation.enlarging import Enlargement
from lightvid.propagation.footage import Footage
from lightvid.propagation.propagating import Propagation
from lightvid.propagation.recent import Recent

# Frames on each side over which the filling is averaged along the flow.
STEADY = 4


class Synthesis:
    """Completes the frames of a propagation, so that nothing remains hidden.

    Args:
        footage: of the video.
        propagation: of the same footage.
    """

    def __init__(self, footage: Footage, propagation: Propagation) -> None:
        self.footage = footage
        self.propagation = propagation
        self._pictures: Recent[Image] = Recent(2 * STEADY + 2)

    def frame(self, index: int) -> Image:
        """A frame, `(H, W, 3)`; what the propagation gives is as it gives it."""
        remaining = self.propagation.frame(index).remaining
        if not remaining.any():
            return self.propagation.frame(index).frame
        box = box_around(self.footage.reduced(remaining.astype(np.float32)) > 0, margin=1)
        large = Enlargement(self.footage, box)
        frame, hidden = self._smooth(index).copy(), remaining[large.box]
        (after, weight_after), (before, weight_before) = (self._along(index, step, box, large) for step in (1, -1))
        mean = (frame[large.box] + after + before) / (1 + weight_after + weight_before)
        frame[large.box][hidden] = mean[hidden].round()
        return frame

    def _along(self, index: int, step: int, box: Box, large: Enlargement) -> tuple[Field, Field]:
        """Weighted sum of the fillings that the flow meets, and of the weights."""
        positions = pixel_positions(*self.footage.small_shape)[box]
        colours, total = np.zeros(1, np.float32), np.zeros(1, np.float32)
        for distance in range(1, STEADY + 1):
            other = index + step * distance
            if not 0 <= other < len(self.footage):
                break
            positions = positions + sample(self.footage.flow(other - step, other), positions)
            there = large.positions(positions)
            synthetic = sample(self.propagation.frame(other).remaining.astype(np.float32), there)[..., None]
            weight = synthetic * (1 - distance / (STEADY + 1))
            colours = colours + weight * sample(self._smooth(other), there)
            total = total + weight
        return colours, total

    def _smooth(self, index: int) -> Image:
        return self._pictures.get(index, self._filled_smoothly)

    def _filled_smoothly(self, index: int) -> Image:
        propagated = self.propagation.frame(index)
        return membrane(propagated.frame, propagated.remaining).round().astype(np.uint8)
