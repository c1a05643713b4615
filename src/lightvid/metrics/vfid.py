"""Features of videos for VFID, the Frechet distance between those of restored and of true ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightvid.ops import without_autocast

CHUNK = 64
"""Frames at once where a video is not seen whole."""


class VideoFeatures:
    """The features of one video that comes chunk by chunk, for VFID (Wang et al., NeurIPS 2018).

    Seen whole, as the papers do, a video is held in memory with the activations of the network on all its frames: for
    100 frames of 432x240 about 1.1 GB. In overlapping chunks of 64 frames, memory does not grow; the feature vector is
    the mean of theirs.

    Args:
        network: `(1, T, 3, H, W)` RGB in [0, 1] to `(1, d)`, such as `checkpoints.load_i3d("i3d_rgb_imagenet.pt",
            batch_statistics=True)` for the papers' numbers.
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
