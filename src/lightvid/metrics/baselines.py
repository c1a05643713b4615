"""What a restoration without learning gives: the least that a trained network has to beat.

Each takes frames `(T, H, W, 3)` uint8 and masks `(T, H, W)`, non-zero = hole, and returns the frames with their holes
filled; pixels outside the holes are returned as they are.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


def mean_colour(frames: Frames, masks: Frames) -> Frames:
    """Fill each hole with the mean colour of the visible pixels of its frame."""
    filled = frames.copy()
    for frame, hole in zip(filled, masks > 0, strict=True):
        visible = frame[~hole] if not hole.all() else np.full((1, 3), 128)
        frame[hole] = np.round(visible.mean(0))
    return filled


def nearest_visible(frames: Frames, masks: Frames) -> Frames:
    """Copy each hidden pixel from the nearest frame where that position is visible, else take the mean colour."""
    filled = mean_colour(frames, masks)
    visible = masks == 0
    times = np.arange(len(frames))
    for t in times:
        missing = ~visible[t]
        for other in sorted(times, key=lambda other: (abs(other - t), other))[1:]:
            found = missing & visible[other]
            filled[t][found] = frames[other][found]
            missing &= ~found
    return filled


def telea(frames: Frames, masks: Frames) -> Frames:
    """Fill each frame by itself with OpenCV's fast marching method (Telea, 2004), radius 5 pixels."""
    holes = (masks > 0).astype(np.uint8)
    return np.stack([cv2.inpaint(frame, hole, 5, cv2.INPAINT_TELEA) for frame, hole in zip(frames, holes, strict=True)])


BASELINES: dict[str, Callable[[Frames, Frames], Frames]] = {
    "mean colour": mean_colour,
    "nearest visible frame": nearest_visible,
    "cv2.inpaint (Telea)": telea,
}
