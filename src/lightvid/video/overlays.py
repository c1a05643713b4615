"""Drawing tracks into frames."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

GOLDEN_RATIO = 0.618034
FONT = cv2.FONT_HERSHEY_SIMPLEX
Colour = tuple[int, int, int]


def draw_tracks(
    frame: NDArray[np.uint8],
    masks: Sequence[NDArray[np.uint8] | NDArray[np.bool_] | None],
    *,
    ids: Sequence[int],
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """Draw the instances of a frame: tinted masks with their contours, and "label 0.87" at the top left of each.

    Args:
        frame: `(H, W, 3)` RGB, left as it is.
        masks: one `(H, W)` mask for each track, None for those that are not in this frame.
        ids: the tracks' numbers; they decide on the colours.
        labels: a text for each track.
        scores: behind the texts.
        opacity: of the tint, 0 to 1.

    Returns:
        `(H, W, 3)` RGB.
    """
    picture = frame.copy()
    shown = [index for index, mask in enumerate(masks) if mask is not None and np.any(mask)]
    texts = []
    for index in shown:
        mask = np.ascontiguousarray(masks[index], np.uint8)
        corner = _tint(picture, mask, track_colour(ids[index]), opacity)
        texts.append((corner, labels[index] if scores is None else f"{labels[index]} {scores[index]:.2f}"))
    for index, (corner, text) in zip(shown, texts, strict=True):  # last, so that no mask hides a text
        _write(picture, text, corner, track_colour(ids[index]))
    return picture


def track_colour(track_id: int) -> Colour:
    """The RGB colour of a track, the same in every frame and video.

    Hues go round the circle in steps of the golden ratio, which keeps those of any first tracks far apart.
    """
    hue = (0.02 + track_id * GOLDEN_RATIO) % 1
    saturation, value = ((0.85, 1.0), (0.6, 1.0), (0.9, 0.75))[track_id % 3]
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _tint(picture: NDArray[np.uint8], mask: NDArray[np.uint8], colour: Colour, opacity: float) -> tuple[int, int]:
    """Tint a mask and draw its contour; gives the top left corner (x, y) of its box."""
    x, y, width, height = cv2.boundingRect(mask)
    box = picture[y : y + height, x : x + width]
    inside = mask[y : y + height, x : x + width] > 0
    box[inside] = (1 - opacity) * box[inside] + opacity * np.array(colour)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, max(1, round(min(picture.shape[:2]) / 240)), cv2.LINE_AA)
    return x, y


def _write(picture: NDArray[np.uint8], text: str, corner: tuple[int, int], colour: Colour) -> None:
    """Write on a plate of the track's colour, within the picture, in black or white, whichever stands out."""
    height, width = picture.shape[:2]
    scale = max(0.35, min(height, width) / 720)
    (text_width, text_height), descent = cv2.getTextSize(text, FONT, scale, 1)
    plate_width, plate_height = text_width + 4, text_height + descent + 4
    left = max(0, min(corner[0], width - plate_width))
    top = max(0, min(corner[1] - plate_height, height - plate_height))
    cv2.rectangle(picture, (left, top), (left + plate_width - 1, top + plate_height - 1), colour, cv2.FILLED)
    bright = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(picture, text, (left + 2, top + 2 + text_height), FONT, scale, ink, 1, cv2.LINE_AA)
