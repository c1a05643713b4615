"""SPyNet: optical flow from a pyramid, small enough to be trained along."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.checkpoint_reading import Tensors, read, tensors_of
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.ops import warp, without_autocast

# Of ImageNet; the published networks have learnt on frames normalised by them.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class SPyNet(nn.Module):
    """Flow between two frames, coarse to fine (Ranjan and Black, CVPR 2017): 1,440,300 parameters as published.

    Every level warps the second frame along the flow found so far and adds what five convolutions see is missing.
    It computes in float32 at any precision.

    Args:
        levels: of the pyramid; the frames are halved one time less.
        widths: of a level's convolutions but the last.
        kernel: their size.
        weights: a local file of published weights (of OpenMMLab or BasicSR).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        levels: int = 6,
        widths: Sequence[int] = (32, 64, 32, 16),
        kernel: int = 7,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if levels < 1 or kernel < 1 or kernel % 2 == 0:
            raise ConfigurationError(f"SPyNet takes levels >= 1 and an odd kernel, got {levels} and {kernel}")
        self.levels = nn.ModuleList(_level([8, *widths, 2], kernel) for _ in range(levels))
        self.weights = weights
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        if weights is not None:
            load_spynet_weights(self, Path(weights).expanduser())

    def init_weights(self) -> None:
        """Keep PyTorch's own start, or the file's, in networks whose other weights are drawn anew."""
        if self.weights is not None:
            load_spynet_weights(self, Path(self.weights).expanduser())
            return
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Flow from the first frames to the second.

        Args:
            first: `(N, 3, h, w)` RGB in [0, 1].
            second: likewise.

        Returns:
            `(N, 2, h, w)` in pixels, x first: what is at p in the first frame is at `p + flow[p]` in the second.
        """
        with without_autocast(first.device):
            return self._estimate(first.float(), second.float())

    def _estimate(self, first: Tensor, second: Tensor) -> Tensor:
        height, width = first.shape[2:]
        multiple = 2 ** (len(self.levels) - 1)
        size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        pyramids = zip(self._pyramid(first, size), self._pyramid(second, size), strict=True)
        flow: Tensor | None = None
        for level, (reference, other) in zip(self.levels, pyramids, strict=True):
            if flow is None:
                flow = first.new_zeros(len(first), 2, *reference.shape[2:])
            else:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat((reference, warp(other, flow, padding="border"), flow), dim=1))
        assert flow is not None
        if size == (height, width):
            return flow
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor((width / size[1], height / size[0])).view(2, 1, 1)

    def _pyramid(self, frames: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Normalised frames at all sizes, the coarsest first."""
        resized = F.interpolate(frames, size, mode="bilinear", align_corners=False)
        pyramid = [(resized - self.mean) / self.deviation]
        for _ in self.levels[1:]:
            pyramid.insert(0, F.avg_pool2d(pyramid[0], 2))
        return pyramid


def _level(widths: Sequence[int], kernel: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def load_spynet_weights(network: SPyNet, path: Path) -> None:
    """Fill a SPyNet of published sizes from a local file.

    Raises:
        CheckpointError: no such file, or one of something else.
    """
    tensors, names = spynet_layout(tensors_of(read(path), str(path))), spynet_names(network)
    if missing := sorted(set(names) - set(tensors)):
        raise CheckpointError(f"{path}: {missing[0]} is not in it, so these are no weights of SPyNet")
    try:
        network.load_state_dict({mine: tensors[name] for name, mine in names.items()})
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[1].strip()}") from None


def spynet_layout(tensors: Tensors) -> Tensors:
    """A file's tensors by OpenMMLab's names, without the constants for normalising frames.

    BasicSR numbers the activations, too, and has no `.conv`.
    """
    renamed = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        if name in ("mean", "std"):
            continue
        if len(parts) == 5 and parts[3].isdecimal():
            parts = [*parts[:3], str(int(parts[3]) // 2), "conv", parts[4]]
        renamed[".".join(parts)] = tensor
    return renamed


def spynet_names(network: SPyNet) -> dict[str, str]:
    """Name in OpenMMLab's file -> name in the network."""
    return {
        f"basic_module.{level}.basic_module.{index // 2}.conv.{kind}": f"levels.{level}.{index}.{kind}"
        for level, layers in enumerate(network.levels)
        for index, layer in enumerate(layers.children())
        if isinstance(layer, nn.Conv2d)
        for kind in ("weight", "bias")
    }
