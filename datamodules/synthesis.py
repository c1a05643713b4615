"""Drawing the sample data: textured things that cross each other in front of a background that a camera pans over.

What an object or a hole hides in one frame shows in others, so that there is something to restore it from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

CATEGORIES = ("ellipse", "triangle", "rectangle", "hexagon", "star")
# Hue (of 180), saturation and value of grass, sand, water, brick, stone, foliage, dusk and clay.
NATURAL_COLOURS = (
    (42, 120, 130), (20, 90, 200), (104, 130, 150), (8, 140, 140),
    (15, 25, 150), (60, 110, 90), (150, 70, 130), (12, 160, 110),
)  # fmt: skip


class SyntheticClip(NamedTuple):
    """A drawn clip.

    Attributes:
        frames: `(T, H, W, 3)` RGB.
        masks: `(T, H, W)`; object k of `categories` is k + 1, the background 0. A later object covers an earlier one.
        background: `(T, H, W, 3)`, the frames without their objects; equal to the frames wherever the mask is 0.
        categories: of each object, one of `CATEGORIES`.
    """

    frames: Bytes
    masks: Bytes
    background: Bytes
    categories: list[str]


def synthesise_clip(rng: np.random.Generator, *, length: int, height: int, width: int, step: int = 1) -> SyntheticClip:
    """Draw a clip of 2 to 4 objects, or every `step`-th of its frames; the same generator state gives the same clip."""
    background = _draw_background(rng, length, height, width, step)
    things = [_random_thing(rng, length, height, width, step) for _ in range(rng.integers(2, 5))]
    frames, masks = background.copy(), np.zeros(background.shape[:3], np.uint8)
    for time in range(len(frames)):
        for number, thing in enumerate(things, start=1):
            alpha, picture = thing.draw(time, height, width)
            weight = alpha[..., None] / 255.0
            frames[time] = np.round(frames[time] * (1 - weight) + picture * weight)
            # Every pixel that an object touches is its own, so that all others are pure background.
            masks[time][alpha > 0] = number
    return SyntheticClip(frames, masks, background, [thing.category for thing in things])


@dataclass(frozen=True)
class _Thing:
    """A rigid textured shape: its outline and texture about the origin, and where it is at each time."""

    category: str
    outline: Floats  # (N, 2) x, y in pixels
    texture: Bytes  # (h, w, 3), the origin in its middle
    poses: Floats  # (T, 2, 3) affine maps from the object to the frame

    def draw(self, time: int, height: int, width: int) -> tuple[Bytes, Bytes]:
        """Coverage `(H, W)` and picture `(H, W, 3)`."""
        pose = self.poses[time]
        corners = self.outline @ pose[:, :2].T + pose[:, 2]
        alpha = np.zeros((height, width), np.uint8)
        cv2.fillPoly(alpha, [np.round(corners * 16).astype(np.int32)], (255,), cv2.LINE_AA, shift=4)
        middle = np.array(self.texture.shape[1::-1]) / 2
        to_frame = np.column_stack([pose[:, :2], pose[:, 2] - pose[:, :2] @ middle])
        picture = cv2.warpAffine(self.texture, to_frame, (width, height), borderMode=cv2.BORDER_REFLECT)
        return alpha, np.asarray(picture, np.uint8)


def draw_texture(rng: np.random.Generator, height: int, width: int) -> Bytes:
    """Several octaves of noise between two natural colours, with stripes, checks or blobs laid over it."""
    first, second = (np.array(NATURAL_COLOURS[i]) for i in rng.choice(len(NATURAL_COLOURS), 2, replace=False))
    blend = _stretch(_noise(rng, height, width, coarsest=3, octaves=3))[..., None]
    colour = first * (1 - blend) + second * blend
    structure = rng.choice(np.array([_stripes, _checks, _blobs]))(rng, height, width)
    shade = 45 * _noise(rng, height, width, coarsest=6, octaves=5) + rng.uniform(35, 60) * (structure - 0.5)
    hsv = colour + np.stack([0 * shade, -0.3 * shade, shade], axis=2)
    hsv[..., 0] %= 180
    return np.asarray(cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _draw_background(rng: np.random.Generator, length: int, height: int, width: int, step: int) -> Bytes:
    """A large texture seen by a camera that pans, zooms and turns slowly; `(T, H, W, 3)`."""
    scene = draw_texture(rng, 2 * height, 2 * width)
    time = np.linspace(-0.5, 0.5, length)[::step]
    heading, travel = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6) * width
    x = width + travel * np.cos(heading) * time + 0.03 * width * np.sin(2 * np.pi * time + heading)
    y = height + 0.5 * travel * np.sin(heading) * time + 0.03 * height * np.cos(3 * np.pi * time)
    angle = rng.uniform(-0.15, 0.15) * time
    zoom = 1.1 + rng.uniform(-0.2, 0.2) * time
    frames = np.empty((len(time), height, width, 3), np.uint8)
    for frame, pose in zip(frames, _poses(angle, 1 / zoom, x, y), strict=True):
        pose[:, 2] -= pose[:, :2] @ (width / 2, height / 2)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(scene, pose, (width, height), dst=frame, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return frames


def _random_thing(rng: np.random.Generator, length: int, height: int, width: int, step: int) -> _Thing:
    """A shape that crosses the frame and passes its middle region, perhaps entering or leaving at a border."""
    category = str(rng.choice(CATEGORIES))
    radius = rng.uniform(0.13, 0.24) * height
    outline = _outline(category, radius)
    side = int(4 * radius)
    time = np.linspace(-1, 1, length)[::step]
    heading, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.65)
    x = width * (rng.uniform(0.3, 0.7) + reach * np.cos(heading) * time)
    y = height * (rng.uniform(0.3, 0.7) + reach * np.sin(heading) * time + 0.06 * np.sin(3 * time + heading))
    angle = rng.uniform(0, 2 * np.pi) + rng.uniform(-1.5, 1.5) * time
    size = 1 + rng.uniform(-0.15, 0.15) * time
    return _Thing(category, outline, _vivid(draw_texture(rng, side, side)), _poses(angle, size, x, y))


def _outline(category: str, radius: float) -> Floats:
    """`(N, 2)` corners about the origin."""
    corners = {"ellipse": 48, "triangle": 3, "rectangle": 4, "hexagon": 6, "star": 10}[category]
    turns = np.arange(corners) * 2 * np.pi / corners
    radii = np.where(np.arange(corners) % 2, 0.45, 1.1) if category == "star" else np.ones(corners)
    points = radius * radii[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    if category == "rectangle":
        return np.stack([points[:, 0] - points[:, 1], 0.6 * (points[:, 0] + points[:, 1])], axis=1)
    return points * (1.25, 0.8) if category == "ellipse" else points


def _poses(angle: Floats, size: Floats, x: Floats, y: Floats) -> Floats:
    """`(T, 2, 3)` maps that turn by `angle` radians, scale by `size` and move the origin to (x, y)."""
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    return np.stack([np.stack([cos, -sin, x], axis=1), np.stack([sin, cos, y], axis=1)], axis=1)


def _vivid(texture: Bytes) -> Bytes:
    """Raise the saturation, so that objects stand out."""
    hsv = cv2.cvtColor(texture, cv2.COLOR_RGB2HSV).astype(np.float64)
    hsv[..., 1:] = np.clip(hsv[..., 1:] * (1.5, 1.2) + (40, 20), 0, 255)
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int, *, coarsest: int, octaves: int) -> Floats:
    """Smooth noise of mean about 0 within about [-1, 1]: each octave twice as fine and 0.7 times as strong."""
    total = np.zeros((height, width))
    for octave in range(octaves):
        cells = coarsest * 2**octave
        grid = rng.uniform(-1, 1, (cells, max(2, round(cells * width / height))))
        total += 0.7**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _stripes(rng: np.random.Generator, height: int, width: int) -> Floats:
    y, x = np.mgrid[:height, :width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.06, 0.14) * height
    bend = _noise(rng, height, width, coarsest=2, octaves=2)
    return _edge(np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + bend))


def _checks(rng: np.random.Generator, height: int, width: int) -> Floats:
    y, x = np.mgrid[:height, :width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.1, 0.2) * height
    across, down = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _edge(2 * np.sin(2 * np.pi * across / period) * np.sin(2 * np.pi * down / period))


def _blobs(rng: np.random.Generator, height: int, width: int) -> Floats:
    return _edge(_noise(rng, height, width, coarsest=9, octaves=3))


def _edge(field: Floats) -> Floats:
    """0 where a field is negative, 1 where it is positive, with a soft edge between."""
    return 0.5 + 0.5 * np.tanh(5 * field)


def _stretch(field: Floats) -> Floats:
    """Scale a field to [0, 1]."""
    return (field - field.min()) / np.ptp(field)
