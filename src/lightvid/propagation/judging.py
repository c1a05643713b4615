"""How far to believe a sighting of a hole, from how it continues what is known around the hole."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lightvid.flow.membrane import membrane
from lightvid.flow.regions import Box, Field, channel_mean, sample
from lightvid.propagation.footage import Footage
from lightvid.propagation.tracks import Sighting

# Costs are in grey levels and smooth: they are found for cells of so many pixels a side.
CELL = 4
# Grey levels of cost for each frame of distance and each pixel of drift.
DISTANCE_COST, DRIFT_COST = 0.05, 0.5
# Cost of a sighting without known pixels around the hole to judge it by.
UNJUDGED = 15.0
# Brightness of two frames is matched within these grey levels.
OFFSET_LIMIT = 40.0
# A cell is judged by its known pixels if they are more than this part of it.
ENOUGH = 0.25


@dataclass(frozen=True)
class Evidence:
    """A sighting and what is held of it, by cells of the box.

    Attributes:
        sighting: of the pixels of the box.
        cost: `(rows, columns)` in grey levels; the less the better.
        offset: `(rows, columns, 3)`, what to add to its colours for the brightness of the frame with the hole.
        colours: `(rows, columns, 3)` with the offset added.
        seen: `(rows, columns)`, part of the cell that is seen.
    """

    sighting: Sighting
    cost: Field
    offset: Field
    colours: Field
    seen: Field


def judge(footage: Footage, index: int, box: Box, sighting: Sighting) -> Evidence:
    """Compare a sighting with what is known in the box, and continue the comparison into the hole.

    Args:
        footage: of the video.
        index: of the frame with the hole.
        box: around the hole, at the size of the flow.
        sighting: of this box.
    """
    target = footage.still(index)
    there = sample(footage.still(sighting.frame).small, sighting.positions)
    around = (sighting.seen & ~target.small_hole[box]).astype(np.float32)
    compared = _compared(target.small[box] - there, around)
    seen = to_cells(sighting.seen.astype(np.float32))
    colours = to_cells(there * sighting.seen[..., None]) / np.maximum(seen, 1e-6)[..., None] + compared[..., :3]
    cost = compared[..., 3] + DISTANCE_COST * abs(sighting.frame - index) + DRIFT_COST * to_cells(sighting.drift)
    return Evidence(sighting, cost, compared[..., :3], np.asarray(colours, np.float32), seen)


def _compared(difference: Field, around: Field) -> Field:
    """Mean difference of each colour and mean size of it, `(rows, columns, 4)`; continued where nothing is known."""
    share = to_cells(around)
    if share.max() <= ENOUGH:
        return np.full((*share.shape, 4), (0, 0, 0, UNJUDGED), np.float32)
    size = channel_mean(np.abs(difference))[..., None]
    both = np.concatenate([np.clip(difference, -OFFSET_LIMIT, OFFSET_LIMIT), size], axis=-1)
    means = to_cells(both * around[..., None]) / np.maximum(share, 1e-6)[..., None]
    return membrane(means, share <= ENOUGH)


def to_cells(image: Field) -> Field:
    """Means over the cells of `(h, w)` or `(h, w, C)`."""
    height, width = image.shape[:2]
    size = -(-width // CELL), -(-height // CELL)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def to_pixels(cells: Field, shape: tuple[int, ...]) -> Field:
    """Interpolated between the cells."""
    return np.asarray(cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
