"""E_warp: how much a restored video flickers along the motion of the true one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightvid.ops import flows_agree, warp

Occlusion = Literal["published", "strict"]


@dataclass(frozen=True)
class FlowEstimator:
    """A way to find optical flow.

    Attributes:
        name: for the names of numbers that depend on it.
        estimate: two frames `(H, W, 3)` uint8 RGB to the flow from the first to the second, `(H, W, 2)` in pixels, x
            first.
    """

    name: str
    estimate: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float32]]


class WarpError:
    """Warping error of one video (Lai et al., ECCV 2018), chunk by chunk.

    Of each pair of neighbouring frames, the mean of `(I_t(p + f(p)) - I_{t-1}(p))^2` over colours and the pixels p that
    both true frames show, f the flow between the true frames and I restored, in [0, 1]; then the mean over the pairs.

    Args:
        flow: between true frames.
        occlusion: `published` counts pixels that the flow moves out of the frame, against the border continued, and
            a pair without any pixel to count as 0; `strict` leaves both out.
    """

    def __init__(self, flow: FlowEstimator, *, occlusion: Occlusion = "published") -> None:
        self.flow = flow
        self.occlusion = occlusion
        self.total = 0.0
        self.pairs = 0
        self._last: tuple[NDArray[Any], NDArray[np.uint8]] | None = None

    def update(self, restored: NDArray[Any], truth: NDArray[np.uint8]) -> None:
        """Add the next frames of the video, `(T, H, W, 3)` in [0, 255]; the last one is kept for the next call."""
        for frame, true in zip(restored, truth, strict=True):
            if self._last is not None:
                self._add_pair(*self._last, frame, true)
            self._last = frame.copy(), true.copy()

    def compute(self) -> float:
        """The error in squared parts of the whole range; NaN without any pair."""
        return self.total / self.pairs if self.pairs else math.nan

    def _add_pair(
        self,
        earlier: NDArray[Any],
        true_earlier: NDArray[np.uint8],
        later: NDArray[Any],
        true_later: NDArray[np.uint8],
    ) -> None:
        forward = _planes(self.flow.estimate(true_earlier, true_later))
        backward = _planes(self.flow.estimate(true_later, true_earlier))
        visible = visible_in_both(forward, backward, occlusion=self.occlusion)
        count = int(visible.sum()) * later.shape[2]
        if count:
            fetched = warp(_planes(later) / 255, forward, padding="border")
            errors = (fetched - _planes(earlier) / 255).square().sum(1, keepdim=True)
            self.total += float(errors[visible].double().sum()) / count
        if count or self.occlusion == "published":
            self.pairs += 1


def visible_in_both(forward: Tensor, backward: Tensor, *, occlusion: Occlusion = "published") -> Tensor:
    """Pixels of the earlier frames that the later ones show, too, and where motion is continuous.

    Occluded is where flow and return disagree, `|f + b|^2 > 0.01 (|f|^2 + |b|^2) + 0.5` with b the backward flow where
    f points, and motion boundaries, `|grad u|^2 + |grad v|^2 > 0.01 |f|^2 + 0.002` (Ruder et al., GCPR 2016).

    Args:
        forward: `(N, 2, H, W)` in pixels, from the earlier frames to the later.
        backward: from the later frames to the earlier.
        occlusion: see `WarpError`.

    Returns:
        `(N, 1, H, W)` bool.
    """
    lengths = forward.square().sum(1, keepdim=True)
    down, across = torch.zeros_like(forward), torch.zeros_like(forward)
    down[..., :-1, :] = forward.diff(dim=-2)
    across[..., :-1] = forward.diff(dim=-1)
    continuous = (down.square() + across.square()).sum(1, keepdim=True) <= 0.01 * lengths + 0.002
    if occlusion == "strict":
        return flows_agree(forward, backward) & continuous
    back = warp(backward, forward, padding="border")
    disagreement = (forward + back).square().sum(1, keepdim=True)
    return (disagreement <= 0.01 * (lengths + back.square().sum(1, keepdim=True)) + 0.5) & continuous


def _planes(image: NDArray[Any]) -> Tensor:
    """`(H, W, C)` to `(1, C, H, W)` float32."""
    return torch.from_numpy(np.ascontiguousarray(image, np.float32)).permute(2, 0, 1).unsqueeze(0)
