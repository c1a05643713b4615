"""Holes: random moving shapes as published with STTN (Zeng et al., ECCV 2020), and the shapes of annotated objects."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.errors import DataError
from lightvid.video import Video

Motion = Literal["random", "moving", "stationary"]

# The published outline is drawn on a canvas with margins, and the canvas scaled to the mask's box: left, bottom, width
# and height of the drawing area in parts of the canvas, and how far its limits lie beyond the control points.
DRAWING_AREA = (0.125, 0.11, 0.775, 0.77)
LIMIT = 1.1
POINTS_PER_SEGMENT = 12
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def random_moving_masks(
    rng: np.random.Generator,
    length: int,
    height: int,
    width: int,
    indices: Sequence[int] | None = None,
    *,
    motion: Motion = "random",
) -> NDArray[np.uint8]:
    """Draw one random shape that stands still or wanders over a clip: the published training masks.

    Args:
        rng: the only source of randomness.
        length: frames of the whole clip; the shape moves through all of them.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        indices: frames to draw; all by default. They do not change the shape or its path.
        motion: "random" stands still for one half of the draws.

    Returns:
        `(len(indices), height, width)`, 1 = hole.
    """
    shape = random_shape(rng, height, width)
    room = height - shape.shape[0], width - shape.shape[1]
    moves = motion == "moving" or (motion == "random" and rng.random() < 0.5)
    path = _random_path(rng, length if moves else 1, room)
    chosen = range(length) if indices is None else indices
    masks = np.zeros((len(chosen), height, width), np.uint8)
    for mask, index in zip(masks, chosen, strict=True):
        top, left = path[index if moves else 0]
        mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return masks


def random_shape(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A blob of 6 to 8 Bezier segments within a random box of a third to the whole of the frame.

    Returns:
        `(h, w)` 0 or 1, cut to the blob.
    """
    box = max(1, int(rng.integers(height // 3, height))), max(1, int(rng.integers(width // 3, width)))
    points = _bezier_curve(
        _control_points(rng, edges=int(rng.integers(6, 9)), ratio=float(rng.choice((0.6, 0.7, 0.8))))
    )
    left, bottom, across, up = DRAWING_AREA
    x, y = points.T
    blob = fill_nonzero((left + across * x) * box[1], (1 - bottom - up * y) * box[0], *box)
    # Published: only pixels that are fully black after an antialiased resize, which is half a pixel less on each side.
    blob = np.asarray(cv2.erode(blob, np.ones((2, 2), np.uint8)), np.uint8)
    rows, columns = np.flatnonzero(blob.any(axis=1)), np.flatnonzero(blob.any(axis=0))
    if len(rows) < 2 or len(columns) < 2:
        return np.ones((1, 1), np.uint8)
    # The published crop loses the last row and column.
    return blob[rows[0] : rows[-1], columns[0] : columns[-1]]


def fill_nonzero(x: NDArray[np.float64], y: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Fill a closed polygon by the nonzero winding rule.

    Args:
        x: corners in pixels, in order; pixel (r, c) is filled if its centre (c + 0.5, r + 0.5) is inside.
        y: likewise.
        height: of the image.
        width: of the image.

    Returns:
        `(height, width)`, 1 = inside.
    """
    x0, y0, x1, y1 = x, y - 0.5, np.roll(x, -1), np.roll(y, -1) - 0.5
    rows = np.arange(height)[:, None]
    # Where a row's centre line meets an edge the winding number changes by the edge's direction, rightwards of there.
    row, edge = np.nonzero((y0 <= rows) != (y1 <= rows))
    crossing = x0[edge] + (row - y0[edge]) / (y1 - y0)[edge] * (x1 - x0)[edge]
    column = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.intp)
    change = np.bincount(row * (width + 1) + column, np.where(y1 > y0, 1, -1)[edge], minlength=height * (width + 1))
    winding = np.cumsum(change.reshape(height, width + 1)[:, :-1].astype(np.int8), axis=1, dtype=np.int8)
    return (winding != 0).view(np.uint8)


def object_masks(video: Video, annotations: Video, indices: Sequence[int]) -> NDArray[np.uint8]:
    """All instances of a video, merged; where a frame is not annotated, those of the nearest annotated one.

    Args:
        video: the frames.
        annotations: images whose names end with the number of their frame.
        indices: frames of the video.

    Returns:
        `(len(indices), H, W)` in the size of the frames, 1 = object.

    Raises:
        DataError: a mask cannot be read or has another size than its frame.
    """
    annotated = np.array([_frame_number(annotations, name) for name in annotations.frame_names])
    wanted = [_frame_number(video, video.frame_names[index]) for index in indices]
    nearest = [int(np.abs(annotated - number).argmin()) for number in wanted]
    masks = annotations.read_masks(nearest)
    height, width = video.size()
    if masks.shape[1:] != (height, width):
        sizes = f"a mask of {masks.shape[2]}x{masks.shape[1]} for frames of {width}x{height} in {video.path}"
        raise DataError(f"{annotations.path}/{annotations.frame_names[nearest[0]]}: {sizes}")
    return (masks > 0).astype(np.uint8)


def dilate(masks: NDArray[np.uint8], iterations: int) -> NDArray[np.uint8]:
    """Widen `(N, H, W)` masks by a 3x3 cross, so many times: by a diamond of that radius in pixels."""
    if iterations == 0:
        return masks
    return np.stack([cv2.dilate(mask, CROSS, iterations=iterations) for mask in masks])


def _frame_number(video: Video, name: str) -> int:
    digits = re.search(r"\d+$", Path(name).stem)
    if digits is None:
        raise DataError(f"{video.path}/{name}: its name must end with the frame's number, to pair frames and masks")
    return int(digits[0])


def _control_points(rng: np.random.Generator, edges: int, ratio: float) -> NDArray[np.float64]:
    """`(3 * edges + 1, 2)` points about the origin, first = last, scaled to where the drawing area is [0, 1]."""
    angles = np.linspace(0, 2 * np.pi, 3 * edges + 1)
    radii = 1 - ratio + 2 * ratio * rng.random(3 * edges + 1)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points[-1] = points[0]
    low, high = LIMIT * points.min(), LIMIT * points.max()
    return (points - low) / (high - low)


def _bezier_curve(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`(N, 2)` points on the cubic Bezier segments whose ends are every third control point."""
    return np.concatenate([BERNSTEIN @ points[i : i + 4] for i in range(0, len(points) - 1, 3)])


def _bernstein(count: int) -> NDArray[np.float64]:
    t = np.arange(count) / count
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], axis=1)


BERNSTEIN = _bernstein(POINTS_PER_SEGMENT)


def _random_path(rng: np.random.Generator, length: int, room: tuple[int, int]) -> list[tuple[int, int]]:
    """Top left corners: a random walk of speed and direction that bounces off the borders in a random direction."""
    row, column = int(rng.integers(room[0] + 1)), int(rng.integers(room[1] + 1))
    # Published as uniform(3) and so with 3 taken for the lower bound: between 1 and 3 pixels a frame.
    speed, angle = 3 - 2 * rng.random(), 2 * math.pi * rng.random()
    changes = (rng.standard_normal((length, 3)) * (1.5, 0.25, 1.5)).tolist()
    bounces = (rng.random(length) * 2 * math.pi).tolist()
    path = [(row, column)]
    for (faster, turn, rebound), direction in zip(changes[1:], bounces[1:], strict=True):
        row, column = row + int(speed * math.cos(angle)), column + int(speed * math.sin(angle))
        speed, angle = speed + faster, angle + turn
        if not (0 <= row <= room[0] and 0 <= column <= room[1]):
            speed, angle = abs(rebound), direction
        row, column = min(max(row, 0), room[0]), min(max(column, 0), room[1])
        path.append((row, column))
    return path
