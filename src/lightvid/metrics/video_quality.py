"""The numbers of a restored video, chunk by chunk, and their averages over videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lightvid.metrics.inpainting import MAXIMUM_PSNR
from lightvid.metrics.ssim import PEAK, Window, structural_similarity
from lightvid.metrics.warp_error import FlowEstimator, Occlusion, WarpError

Averaging = Literal["frames", "videos"]
WARP_ERROR = "e_warp"


@dataclass
class Mean:
    """A mean that grows.

    Attributes:
        total: sum of the values.
        count: number of them.
    """

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Take one more value into account."""
        self.total += value
        self.count += 1

    @property
    def value(self) -> float:
        """NaN without any value."""
        return self.total / self.count if self.count else math.nan


class VideoQuality:
    """PSNR, SSIM, PSNR of the holes, and E_warp where there is a flow, of one video.

    It keeps one frame between the chunks, so that a video of any length may be measured.

    Args:
        ssim_window: see `structural_similarity`; the papers' is `uniform65`.
        flow: between true frames, for E_warp.
        occlusion: see `WarpError`.
    """

    def __init__(
        self,
        *,
        ssim_window: Window = "uniform65",
        flow: FlowEstimator | None = None,
        occlusion: Occlusion = "published",
    ) -> None:
        self.ssim_window = ssim_window
        self._means = {"psnr": Mean(), "ssim": Mean(), "hole_psnr": Mean()}
        self._warp_error = WarpError(flow, occlusion=occlusion) if flow else None

    def update(self, restored: NDArray[Any], truth: NDArray[np.uint8], masks: NDArray[Any]) -> None:
        """Add the next frames of the video.

        Args:
            restored: `(T, H, W, 3)` in [0, 255]. PSNR and SSIM are of these numbers; E_warp, as in the papers, of the
                frames as they are written, cut down to whole grey levels.
            truth: `(T, H, W, 3)`.
            masks: `(T, H, W)`, non-zero = hole; a frame without does not count for the PSNR of holes.

        Raises:
            ConfigurationError: the frames are smaller than the window of SSIM.
        """
        if restored.shape != truth.shape or masks.shape != truth.shape[:3]:
            shapes = ", ".join(str(array.shape) for array in (restored, truth, masks))
            raise ValueError(f"expected restored and truth (T, H, W, 3) and masks (T, H, W), got {shapes}")
        for frame, true, hole in zip(restored, truth, masks > 0, strict=True):
            squared = (frame.astype(np.float64) - true) ** 2
            self._means["psnr"].add(_decibels(squared.mean()))
            self._means["ssim"].add(structural_similarity(frame, true, window=self.ssim_window))
            if hole.any():
                self._means["hole_psnr"].add(_decibels(squared[hole].mean()))
        if self._warp_error:
            self._warp_error.update(restored.astype(np.uint8), truth)

    def means(self) -> dict[str, Mean]:
        """The numbers as sums and counts: of frames, and for `e_warp_FLOW` of pairs of frames."""
        if self._warp_error is None:
            return dict(self._means)
        name = f"{WARP_ERROR}_{self._warp_error.flow.name}"
        return {**self._means, name: Mean(self._warp_error.total, self._warp_error.pairs)}

    def compute(self) -> dict[str, float]:
        """`psnr` and `hole_psnr` in dB, `ssim`, and `e_warp_FLOW`; NaN where nothing was counted."""
        return {name: mean.value for name, mean in self.means().items()}


def average(videos: Sequence[Mapping[str, Mean]], over: Averaging = "frames") -> dict[str, float]:
    """The numbers of several videos.

    Args:
        videos: of each, what `VideoQuality.means` gives.
        over: `frames` counts all frames alike, as the papers do, `videos` all videos. E_warp is always a mean over
            videos.
    """
    result = {}
    for name in videos[0]:
        counted = [video[name] for video in videos if video[name].count]
        mean = Mean()
        for video in counted:
            if over == "frames" and not name.startswith(WARP_ERROR):
                mean = Mean(mean.total + video.total, mean.count + video.count)
            else:
                mean.add(video.value)
        result[name] = mean.value
    return result


def _decibels(squared_error: float) -> float:
    """PSNR; an exact frame, where it is infinite, counts as `MAXIMUM_PSNR`."""
    if squared_error == 0:
        return MAXIMUM_PSNR
    return min(10 * math.log10(PEAK**2 / squared_error), MAXIMUM_PSNR)
