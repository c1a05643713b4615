"""Measuring restorers on clips whose true frames are known."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightvid.evaluation.clips import FRAMES_AT_ONCE, Clip
from lightvid.metrics.frechet import frechet_distance
from lightvid.metrics.ssim import Window
from lightvid.metrics.vfid import VideoFeatures
from lightvid.metrics.video_quality import Averaging, Mean, VideoQuality, average
from lightvid.metrics.warp_error import FlowEstimator, Occlusion
from lightvid.networks.i3d import I3D

logger = logging.getLogger(__name__)


class ClipRestorer(Protocol):
    """What is measured: a `Restorer`, or one of evaluated clips alone; its frames may be broken numbers."""

    def restore(self, video: Clip, *, start: int = 0) -> Iterator[NDArray[Any]]:
        """See `Restorer.restore`."""


@dataclass(frozen=True)
class Rules:
    """How the numbers are defined; the defaults are those of the papers' tables.

    Attributes:
        ssim_window: see `structural_similarity`.
        averaging: over all frames, or over the videos' means.
        occlusion: see `WarpError`.
        whole_videos: I3D sees whole videos, not overlapping chunks.
        flow: for E_warp, which is left out without.
        i3d: for VFID, likewise.
        device: of I3D.
    """

    ssim_window: Window = "uniform65"
    averaging: Averaging = "frames"
    occlusion: Occlusion = "published"
    whole_videos: bool = True
    flow: FlowEstimator | None = None
    i3d: I3D | None = None
    device: torch.device | str = "cpu"

    def quality(self) -> VideoQuality:
        """The accumulator of a video's numbers."""
        return VideoQuality(ssim_window=self.ssim_window, flow=self.flow, occlusion=self.occlusion)

    def features(self) -> VideoFeatures | None:
        """The accumulator of a video's features, where there is a network for them."""
        return VideoFeatures(self.i3d, whole=self.whole_videos, device=self.device) if self.i3d else None


@dataclass
class MethodScores:
    """The numbers of one restorer.

    Attributes:
        videos: of each video by its name, as sums and counts.
        features: of each restored video.
    """

    videos: dict[str, dict[str, Mean]] = field(default_factory=dict)
    features: list[Tensor] = field(default_factory=list)

    def mean(self, rules: Rules, truth: list[Tensor]) -> dict[str, float]:
        """The numbers of all videos; `vfid` is NaN for fewer than 2."""
        numbers = average(list(self.videos.values()), rules.averaging)
        if rules.i3d is not None:
            enough = len(truth) > 1
            distance = frechet_distance(torch.stack(self.features), torch.stack(truth)).item() if enough else math.nan
            numbers["vfid"] = distance
        return numbers


@dataclass
class Evaluation:
    """The numbers of several restorers on the same clips.

    Attributes:
        rules: of the numbers.
        methods: by the restorers' names.
        true_features: of each true video.
    """

    rules: Rules
    methods: dict[str, MethodScores] = field(default_factory=dict)
    true_features: list[Tensor] = field(default_factory=list)

    def measure(self, clip: Clip, restorers: Mapping[str, ClipRestorer]) -> None:
        """Restore a clip by each, one after the other; what stays in memory is a few frames, and what VFID needs."""
        if (features := self.rules.features()) is not None:
            for indices in _batches(len(clip)):
                features.update(clip.read_truth(indices))
            self.true_features.append(features.compute())
        for name, restorer in restorers.items():
            start = time.perf_counter()
            scores = self.methods.setdefault(name, MethodScores())
            scores.videos[clip.name] = self._measure(clip, restorer, scores.features)
            numbers = ", ".join(f"{key} {mean.value:.4g}" for key, mean in scores.videos[clip.name].items())
            seconds = time.perf_counter() - start
            logger.info("%s, %s: %s (%d frames, %.0f s)", name, clip.name, numbers, len(clip), seconds)
        clip.close()

    def means(self) -> dict[str, dict[str, float]]:
        """The numbers of each restorer over all clips."""
        return {name: scores.mean(self.rules, self.true_features) for name, scores in self.methods.items()}

    def _measure(self, clip: Clip, restorer: ClipRestorer, collected: list[Tensor]) -> dict[str, Mean]:
        quality, features = self.rules.quality(), self.rules.features()
        frames = restorer.restore(clip)
        for indices in _batches(len(clip)):
            restored = np.stack(list(islice(frames, len(indices))))
            quality.update(restored, clip.read_truth(indices), clip.read_masks(indices))
            if features is not None:
                features.update(restored.astype(np.uint8))  # as in the papers, whose I3D saw frames as they are written
        if features is not None:
            collected.append(features.compute())
        return quality.means()


def _batches(length: int) -> Iterator[range]:
    for first in range(0, length, FRAMES_AT_ONCE):
        yield range(first, min(first + FRAMES_AT_ONCE, length))
