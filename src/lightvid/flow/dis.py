"""Optical flow without weights: OpenCV's dense inverse search."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Preset = Literal["ultrafast", "fast", "medium"]
PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
SMALLEST = 16  # OpenCV refuses sides of less than a patch


def dis_flow(first: NDArray[np.uint8], second: NDArray[np.uint8], *, preset: Preset = "fast") -> NDArray[np.float32]:
    """Flow from one frame to another by dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        first: `(H, W, 3)` RGB or `(H, W)` grey.
        second: likewise, of the same size.
        preset: speed against detail.

    Returns:
        `(H, W, 2)` in pixels, x first: what is at p in the first frame is at `p + flow[p]` in the second.
    """
    grey = [frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    height, width = grey[0].shape
    missing = max(SMALLEST - height, 0), max(SMALLEST - width, 0)
    if any(missing):
        grey = [cv2.copyMakeBorder(frame, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE) for frame in grey]
    flow = np.zeros((*grey[0].shape, 2), np.float32)
    flow = np.asarray(cv2.DISOpticalFlow.create(PRESETS[preset]).calc(grey[0], grey[1], flow), np.float32)
    return flow[:height, :width]
