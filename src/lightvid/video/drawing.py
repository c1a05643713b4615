"""Pictures of results: rows of frames with a caption each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

BACKGROUND = 255
INK = (40, 40, 40)


def picture_strip(rows: Sequence[tuple[str, NDArray[np.uint8]]], *, gap: int = 2) -> NDArray[np.uint8]:
    """Compose one picture of several rows of frames, such as masked, restored and truth.

    Args:
        rows: caption and `(N, H, W, 3)` RGB frames of each row; the caption stands left of its frames.
        gap: pixels between pictures.

    Returns:
        `(H', W', 3)` RGB.
    """
    scale = max(0.35, min(frames.shape[1] for _, frames in rows) / 360)
    left = max(_text_size(caption, scale)[0] for caption, _ in rows) + 12 if any(c for c, _ in rows) else gap
    right = gap + max(frames.shape[0] * (frames.shape[2] + gap) for _, frames in rows)
    height = gap + sum(frames.shape[1] + gap for _, frames in rows)
    picture = np.full((height, left + right, 3), BACKGROUND, np.uint8)
    top = gap
    for caption, frames in rows:
        h, w = frames.shape[1:3]
        for column, frame in enumerate(frames):
            x = left + gap + column * (w + gap)
            picture[top : top + h, x : x + w] = frame
        baseline = top + (h + _text_size(caption, scale)[1]) // 2
        cv2.putText(picture, caption, (6, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
        top += h + gap
    return picture


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write an `(H, W, 3)` RGB picture; the folder is made if it is missing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(content.tobytes())


def _text_size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return width, height
