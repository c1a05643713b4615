"""VFID: the Frechet distance between the I3D features of restored and of true videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lightvid.metrics.frechet import frechet_distance
from lightvid.ops import without_autocast

I3D_CHANNELS = 1024
CHUNK = 64
"""Frames at once where a video is not seen whole."""


class VFID(Metric):
    """Frechet distance between two sets of videos (Wang et al., NeurIPS 2018), with one feature vector a video.

    The states are the features, which are gathered from all processes.

    Args:
        network: `(1, T, 3, H, W)` RGB in [0, 1] to `(1, channels)`, such as `checkpoints.load("i3d",
            "i3d_rgb_imagenet.pt", batch_statistics=True)` for the papers' numbers.
        channels: of a feature vector.
        **options: of `torchmetrics.Metric`.
    """

    higher_is_better = False
    full_state_update = False
    restored: list[Tensor]
    truth: list[Tensor]

    def __init__(self, network: nn.Module, *, channels: int = I3D_CHANNELS, **options: Any) -> None:
        super().__init__(**options)
        self.network = network.requires_grad_(False)
        self.channels = channels
        self.add_state("restored", [], dist_reduce_fx="cat")
        self.add_state("truth", [], dist_reduce_fx="cat")
        self.reset()

    def update(self, restored: Tensor, truth: Tensor) -> None:
        """Add whole videos, `(B, T, 3, H, W)` in [0, 1]."""
        for state, videos in ((self.restored, restored), (self.truth, truth)):
            state.extend(_features(self.network, video[None]) for video in videos)

    def compute(self) -> Tensor:
        """The distance; NaN with fewer than 2 videos, which have no covariance."""
        restored, truth = dim_zero_cat(self.restored), dim_zero_cat(self.truth)
        if min(len(restored), len(truth)) < 2:
            return torch.tensor(torch.nan, device=self.device)
        return frechet_distance(restored, truth).float()

    def reset(self) -> None:
        """Forget all videos."""
        super().reset()
        for state in (self.restored, self.truth):  # gives the shape in a process that gets no video
            state.append(torch.empty(0, self.channels, device=self.device))


class VideoFeatures:
    """The features of one video that comes chunk by chunk.

    Seen whole, as the papers do, a video is held in memory with the activations of the network on all its frames: for
    100 frames of 432x240 about 1.1 GB. In overlapping chunks of 64 frames, memory does not grow; the feature vector is
    the mean of theirs.

    Args:
        network: see `VFID`.
        whole: see the whole video at once; with statistics of the batch, only this is defined.
        device: of the network.
    """

    def __init__(self, network: nn.Module, *, whole: bool = True, device: torch.device | str = "cpu") -> None:
        self._network = network
        self._device = device
        self._whole = whole
        self._frames: list[NDArray[Any]] = []
        self._fresh = 0
        self._features: list[Tensor] = []

    def update(self, frames: NDArray[Any]) -> None:
        """Add the next frames, `(T, H, W, 3)` in [0, 255]."""
        for frame in frames:
            self._frames.append(frame.copy())
            self._fresh += 1
            if not self._whole and len(self._frames) == CHUNK:
                self._see()
                del self._frames[: CHUNK // 2]

    def compute(self) -> Tensor:
        """`(d,)` of all frames so far, on the CPU; the last call."""
        if self._fresh:
            self._see()
        return torch.stack(self._features).mean(0)

    def _see(self) -> None:
        clip = torch.from_numpy(np.stack(self._frames)).to(self._device).permute(0, 3, 1, 2).float() / 255
        self._features.append(_features(self._network, clip[None])[0].cpu())
        self._fresh = 0


@torch.no_grad()
def _features(network: nn.Module, clip: Tensor) -> Tensor:
    with without_autocast(clip.device):
        features: Tensor = network(clip.float())
    return features
