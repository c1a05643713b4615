"""Structural similarity of two frames."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.errors import ConfigurationError

Window = Literal["gaussian", "uniform65"]
SIZES: dict[Window, int] = {"gaussian": 11, "uniform65": 65}
GAUSSIAN_DEVIATION = 1.5
PEAK = 255


def structural_similarity(first: NDArray[Any], second: NDArray[Any], *, window: Window = "gaussian") -> float:
    """Mean structural similarity over the channels and over all pixels whose window lies inside the frame.

    Wang et al., IEEE TIP 2004, with K1 = 0.01, K2 = 0.03.

    Args:
        first: `(H, W, C)` in [0, 255].
        second: likewise.
        window: `gaussian` is the usual one of 11 pixels and deviation 1.5, `uniform65` that of the video inpainting
            papers: 65 x 65 pixels of equal weight, with sample covariances, which gives higher values.

    Raises:
        ConfigurationError: the frames are smaller than the window.
    """
    check_window(window, *first.shape[:2])
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _filter(x, window), _filter(y, window)
    samples = SIZES[window] ** 2
    correction = samples / (samples - 1) if window == "uniform65" else 1.0
    variances = correction * (_filter(x * x + y * y, window) - mean_x**2 - mean_y**2)
    covariance = correction * (_filter(x * y, window) - mean_x * mean_y)
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))).mean())


def check_window(window: Window, height: int, width: int) -> None:
    """Refuse frames smaller than the window.

    Raises:
        ConfigurationError: they are.
    """
    size = SIZES[window]
    if min(height, width) < size:
        way = "use gaussian" if window == "uniform65" else "evaluate at a larger size"
        raise ConfigurationError(
            f"ssim_window={window} needs frames of at least {size}x{size} pixels, got {width}x{height}: {way}"
        )


def _filter(x: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Means over the window, where it lies inside."""
    size = SIZES[window]
    if window == "gaussian":
        means = cv2.GaussianBlur(x, (size, size), GAUSSIAN_DEVIATION)
    else:
        means = cv2.blur(x, (size, size))
    margin = size // 2
    return np.asarray(means, np.float64)[margin : x.shape[0] - margin, margin : x.shape[1] - margin]
