"""PSNR, SSIM and hole PSNR of restored clips."""

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image import StructuralSimilarityIndexMeasure

from lightvid.errors import ConfigurationError
from lightvid.metrics.ssim import SIZES, Window
from lightvid.ops import without_autocast

MAXIMUM_PSNR = 100.0
"""Decibels given to a frame that is restored exactly, where PSNR is infinite."""


class InpaintingMetrics(nn.Module):
    """The three numbers of a table row, each the mean over all frames.

    Args:
        ssim_window: `gaussian` is the usual 11-pixel Gaussian window, `uniform65` the 65 x 65 uniform window of the
            video inpainting papers since STTN, whose values are higher: compare only within one choice.

    Raises:
        ConfigurationError: another `ssim_window`.
    """

    def __init__(self, *, ssim_window: Window = "gaussian") -> None:
        super().__init__()
        if ssim_window not in SIZES:
            raise ConfigurationError(f"ssim_window must be one of {', '.join(SIZES)}, got '{ssim_window}'")
        self.ssim_window = ssim_window
        self.psnr = FramePSNR()
        self.hole_psnr = FramePSNR()
        self.ssim = StructuralSimilarityIndexMeasure(
            data_range=1.0,
            gaussian_kernel=ssim_window == "gaussian",
            kernel_size=SIZES[ssim_window],
        )

    def check_size(self, height: int, width: int) -> None:
        """Refuse frames that are smaller than the SSIM window.

        Raises:
            ConfigurationError: they are.
        """
        size = SIZES[self.ssim_window]
        if min(height, width) < size:
            way = "" if self.ssim_window == "gaussian" else ": use gaussian"
            raise ConfigurationError(
                f"ssim_window={self.ssim_window} needs frames of at least {size} x {size} pixels,"
                f" got {height} x {width}{way}"
            )

    def update(self, restored: Tensor, truth: Tensor, masks: Tensor) -> None:
        """Add clips of shape `(B, T, 3, H, W)` in [0, 1] with masks `(B, T, 1, H, W)`, 1 = hole.

        Raises:
            ConfigurationError: the frames are smaller than the SSIM window.
        """
        self.check_size(*truth.shape[-2:])
        restored, truth, masks = (clip.flatten(0, 1).float() for clip in (restored, truth, masks))
        with without_autocast(truth.device):  # SSIM is made of convolutions
            self.psnr.update(restored, truth)
            self.hole_psnr.update(restored, truth, masks)
            self.ssim.update(restored, truth)

    def compute(self) -> dict[str, Tensor]:
        """`psnr` and `hole_psnr` in dB, `ssim` in [-1, 1]."""
        ssim = self.ssim.compute()
        assert isinstance(ssim, Tensor)
        return {"psnr": self.psnr.compute(), "ssim": ssim, "hole_psnr": self.hole_psnr.compute()}

    def reset(self) -> None:
        """Forget all clips."""
        for metric in (self.psnr, self.hole_psnr, self.ssim):
            metric.reset()


class FramePSNR(Metric):
    """Mean over frames of the peak signal-to-noise ratio in dB, of whole frames or of a region of each.

    Frames without a region pixel do not count; a frame restored exactly counts as `MAXIMUM_PSNR`.
    """

    higher_is_better = True
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, restored: Tensor, truth: Tensor, region: Tensor | None = None) -> None:
        """Add frames `(N, 3, H, W)` in [0, 1]; `region` is `(N, 1, H, W)`, 1 = counted."""
        squared = (restored.double() - truth.double()).square()
        if region is None:
            errors = squared.flatten(1).mean(1)
        else:
            inside = region.double()
            pixels = inside.flatten(1).sum(1)
            errors = (squared * inside).flatten(1).sum(1) / (pixels * squared.shape[1])
            errors = errors[pixels > 0]
        self.total += (-10 * torch.log10(errors)).clamp_max(MAXIMUM_PSNR).sum()
        self.count += len(errors)

    def compute(self) -> Tensor:
        """The mean in dB; NaN when no frame was counted."""
        return (self.total / self.count).float()
