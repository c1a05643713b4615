"""From a box at the size of the flow to the same box at the size of the frames."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lightvid.flow.regions import Box, Field, pixel_positions, sample
from lightvid.propagation.footage import Footage


class Enlargement:
    """What is known for each pixel of a box of a small frame, for each pixel of the large one.

    Args:
        footage: whose frames and flow may be of different sizes.
        box: at the size of the flow.

    Attributes:
        box: at the size of the frames.
    """

    def __init__(self, footage: Footage, box: Box) -> None:
        self.same = footage.shape == footage.small_shape
        self.small = box
        self.small_positions = pixel_positions(*footage.small_shape)[box]
        sides = list(zip(footage.shape, footage.small_shape, strict=True))
        self.scale = np.array([large / small for large, small in reversed(sides)], np.float32)  # x first
        rows, columns = (
            slice(part.start * large // small, min(-(-part.stop * large // small), large))
            for part, (large, small) in zip(box, sides, strict=True)
        )
        self.box = rows, columns

    def field(self, values: Field) -> Field:
        """`(h, w)` or `(h, w, C)` of the small box, interpolated."""
        return values if self.same else np.asarray(sample(values, self._origins), np.float32)

    def positions(self, positions: Field) -> Field:
        """Positions in small frames `(h, w, 2)` of the pixels of the small box, as those of the large ones."""
        if self.same:
            return positions
        moved = self._origins + self._corner + self.field(positions - self.small_positions)
        return (moved + 0.5) * self.scale - 0.5

    @cached_property
    def _origins(self) -> Field:
        """Where the pixels of the large box lie in the small one."""
        rows, columns = self.box
        positions = pixel_positions(rows.stop, columns.stop)[self.box]
        return (positions + 0.5) / self.scale - 0.5 - self._corner

    @property
    def _corner(self) -> Field:
        return np.array([self.small[1].start, self.small[0].start], np.float32)
