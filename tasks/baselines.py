"""The metrics of restorations without a network, on the clips that a network is validated with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lightvid.metrics import BASELINES, InpaintingMetrics


class BaselineMetrics(nn.Module):
    """`InpaintingMetrics` of every baseline.

    Args:
        ssim_window: see `InpaintingMetrics`.
    """

    def __init__(self, *, ssim_window: Literal["gaussian", "uniform65"] = "gaussian") -> None:
        super().__init__()
        self.metrics = nn.ModuleList(InpaintingMetrics(ssim_window=ssim_window) for _ in BASELINES)

    def update(self, truth: Tensor, masks: Tensor) -> None:
        """Restore clips `(B, T, 3, H, W)` in [-1, 1] with masks `(B, T, 1, H, W)`, 1 = hole, and measure them."""
        frames = ((truth + 1) * 127.5).round().byte().movedim(2, -1).cpu().numpy()
        holes = masks[:, :, 0].byte().cpu().numpy()
        for metrics, restore in zip(self.metrics, BASELINES.values(), strict=True):
            clips = [torch.from_numpy(restore(clip, hole)) for clip, hole in zip(frames, holes, strict=True)]
            filled = torch.stack(clips).movedim(-1, 2).to(truth) / 127.5 - 1
            composite = truth * (1 - masks) + filled * masks
            metrics.update((composite + 1) / 2, (truth + 1) / 2, masks)  # type: ignore[operator]

    def by_name(self) -> dict[str, InpaintingMetrics]:
        """The metrics of each baseline."""
        return dict(zip(BASELINES, self.metrics, strict=True))  # type: ignore[arg-type]
