"""Optical flow for E_warp: without weights, or by a network whose weights are given."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.checkpoint_reading import read, tensors_of
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.flow import dis_flow
from lightvid.metrics.warp_error import FlowEstimator

Device = torch.device | str
RAFT_LEAST = 128
"""Pixels of the shortest side that its pyramid of correlations takes."""


def flow_estimator(choice: str, *, device: Device = "cpu") -> FlowEstimator:
    """The estimator that a text asks for: `dis`, `spynet=FILE` or `raft=FILE`.

    Raises:
        ConfigurationError: another text, or RAFT without torchvision.
        CheckpointError: the file is missing or unsuitable.
    """
    name, _, file = choice.partition("=")
    if name == "dis" and not file:
        return dis_estimator()
    if name == "spynet" and file:
        from lightvid.stems.spynet import SPyNet

        return network_estimator("spynet", SPyNet(weights=file), device)
    if name == "raft" and file:
        return network_estimator("raft", Raft(Path(file).expanduser()), device)
    raise ConfigurationError(f"unknown flow '{choice}': choose dis, spynet=FILE or raft=FILE")


def dis_estimator() -> FlowEstimator:
    """OpenCV's dense inverse search at its finest preset."""
    return FlowEstimator("dis", lambda first, second: dis_flow(first, second, preset="medium"))


def network_estimator(name: str, network: nn.Module, device: Device = "cpu") -> FlowEstimator:
    """A network of two frames `(N, 3, H, W)` in [0, 1] that returns `(N, 2, H, W)` in pixels."""
    network = network.to(device).eval()

    @torch.inference_mode()
    def estimate(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        planes = torch.from_numpy(np.stack((first, second))).to(device).permute(0, 3, 1, 2).float() / 255
        flow: Tensor = network(planes[:1], planes[1:])
        return flow[0].permute(1, 2, 0).float().cpu().numpy()

    return FlowEstimator(name, estimate)


class Raft(nn.Module):
    """RAFT (Teed and Deng, ECCV 2020) as torchvision has it, at sizes that it takes.

    Args:
        weights: torchvision's file for `raft_large`, such as `raft_large_C_T_SKHT_V2-ff5fadd5.pth`.

    Raises:
        ConfigurationError: torchvision does not import here.
        CheckpointError: the file is missing or of something else.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.network = _raft_large()()
        try:
            self.network.load_state_dict(tensors_of(read(weights), str(weights)))
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise CheckpointError(f"{weights}: no weights of torchvision's raft_large ({reason})") from None

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow `(N, 2, H, W)` in pixels between frames `(N, 3, H, W)` in [0, 1]."""
        height, width = first.shape[2:]
        size = [max(RAFT_LEAST, -(-side // 8) * 8) for side in (height, width)]
        frames = [F.interpolate(frame, size, mode="bilinear") * 2 - 1 for frame in (first, second)]
        flow = F.interpolate(self.network(*frames)[-1], (height, width), mode="bilinear")
        return flow * flow.new_tensor((width / size[1], height / size[0])).view(2, 1, 1)


def _raft_large() -> Callable[[], nn.Module]:
    try:
        raft_large: Callable[[], nn.Module] = import_module("torchvision.models.optical_flow").raft_large
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise ConfigurationError(
            f"raft needs torchvision, which does not import here ({str(error).splitlines()[0]}): use spynet or dis"
        ) from None
    return raft_large
