"""What gives flow-guided networks the flow to learn: estimators that see the frames without holes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightvid.errors import ConfigurationError
from lightvid.flow import dis_flow
from lightvid.flow.dis import Preset
from lightvid.ops import without_autocast
from lightvid.stems import SPyNet, thumbnails
from lightvid.stems.propagation import Flows


class FlowTeacher(ABC):
    """Estimates flow between consecutive frames, without gradients.

    No module on purpose: a task that has a teacher neither trains it nor stores it in checkpoints.
    """

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Flows:
        """Targets of `flow_l1`.

        Args:
            frames: `(B, T, 3, H, W)` in [-1, 1], consecutive, without holes; T >= 2.

        Returns:
            Forward (frame t to t + 1) and backward (t + 1 to t), each `(B, T-1, 2, H // 4, W // 4)` float32, in pixels
            of that size.
        """
        earlier, later = frames[:, :-1].flatten(0, 1).float(), frames[:, 1:].flatten(0, 1).float()
        with without_autocast(frames.device):
            both = self.estimate(torch.cat((earlier, later)), torch.cat((later, earlier)))
        forward, backward = both.unflatten(0, (2, len(frames), -1)).unbind(0)
        return forward, backward

    @abstractmethod
    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow `(N, 2, H // 4, W // 4)` from the first frames to the second, both `(N, 3, H, W)` in [-1, 1]."""


class SPyNetTeacher(FlowTeacher):
    """The published SPyNet, as E2FGVI was trained with.

    Args:
        weights: its local file.

    Raises:
        ConfigurationError: no file given.
        CheckpointError: not a file of such weights.
    """

    def __init__(self, weights: str | None = None) -> None:
        if weights is None:
            raise ConfigurationError(
                "SPyNetTeacher needs weights=FILE, the published spynet_20210409-c6c1bd09.pth (with paper=e2fgvi:"
                " task.network.stem.propagation.flow.weights=FILE); task.flow_teacher=lightvid.losses.DISTeacher"
                " needs none"
            )
        self.network = SPyNet(weights=str(Path(weights).expanduser())).requires_grad_(False).eval()

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """See `FlowTeacher.estimate`."""
        self.network.to(first.device)
        small = [((thumbnails(frames.unsqueeze(1)) + 1) / 2).squeeze(1) for frames in (first, second)]
        flow: Tensor = self.network(*small)
        return flow


class DISTeacher(FlowTeacher):
    """Dense inverse search (Kroeger et al., ECCV 2016) on the CPU: no weights, and a copy of the frames from a GPU.

    Args:
        preset: speed against detail.
    """

    def __init__(self, preset: Preset = "medium") -> None:
        self.preset: Preset = preset

    def estimate(self, first: Tensor, second: Tensor) -> Tensor:
        """See `FlowTeacher.estimate`; it is estimated at full size."""
        pairs = zip(_to_bytes(first), _to_bytes(second), strict=True)
        flows = np.stack([dis_flow(*pair, preset=self.preset) for pair in pairs])
        small = thumbnails(torch.from_numpy(flows).movedim(-1, 1).unsqueeze(1)).squeeze(1)
        # Pixels of thumbnails are a little farther apart than four of the frame's, as the corners of both lie together.
        (height, width), (small_height, small_width) = first.shape[2:], small.shape[2:]
        scale = small.new_tensor([(small_width - 1) / (width - 1), (small_height - 1) / (height - 1)])
        return (small * scale.view(2, 1, 1)).to(first.device)


def _to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """`(N, 3, H, W)` in [-1, 1] to `(N, H, W, 3)` uint8."""
    return ((frames + 1) * 127.5).round().clamp(0, 255).byte().movedim(1, -1).contiguous().cpu().numpy()
