"""Scenes whose motion and hidden parts are known."""

import cv2
import numpy as np


def texture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Coarse and fine colours, `(height, width, 3)` uint8."""
    noise = np.random.default_rng(seed).normal(size=(2, height, width, 3)).astype(np.float32)
    coarse, fine = (cv2.GaussianBlur(layer, (0, 0), sigma) for layer, sigma in zip(noise, (5, 1.5), strict=True))
    return np.clip(128 + 30 * (coarse / coarse.std() + 0.5 * fine / fine.std()), 0, 255).astype(np.uint8)


def panned(frames: int, height: int, width: int, *, speed: int) -> np.ndarray:
    """A camera that moves to the right over a texture, by `speed` pixels a frame."""
    world = texture(height, width + speed * frames)
    return np.stack([world[:, speed * t : speed * t + width] for t in range(frames)])


def box_mask(frames: int, height: int, width: int, rows: slice, columns: slice) -> np.ndarray:
    """The same box in every frame."""
    mask = np.zeros((frames, height, width), np.uint8)
    mask[:, rows, columns] = 1
    return mask


def sliding_mask(frames: int, height: int, width: int, *, side: int, speed: int) -> np.ndarray:
    """A square at half the height that moves to the right."""
    mask = np.zeros((frames, height, width), np.uint8)
    top = (height - side) // 2
    for t in range(frames):
        mask[t, top : top + side, 8 + speed * t : 8 + speed * t + side] = 1
    return mask
