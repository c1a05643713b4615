"""I3D, the network whose features the Frechet distance of videos compares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[int, int, int]
Widths = tuple[int, tuple[int, int], tuple[int, int], int]

MIXED: dict[str, Widths] = {
    "Mixed_3b": (64, (96, 128), (16, 32), 32),
    "Mixed_3c": (128, (128, 192), (32, 96), 64),
    "Mixed_4b": (192, (96, 208), (16, 48), 64),
    "Mixed_4c": (160, (112, 224), (24, 64), 64),
    "Mixed_4d": (128, (128, 256), (24, 64), 64),
    "Mixed_4e": (112, (144, 288), (32, 64), 64),
    "Mixed_4f": (256, (160, 320), (32, 128), 128),
    "Mixed_5b": (256, (160, 320), (32, 128), 128),
    "Mixed_5c": (384, (192, 384), (48, 128), 128),
}


class I3D(nn.Module):
    """The layers of Inception-v1 in three dimensions (Carreira and Zisserman, CVPR 2017), without its classifier.

    Args:
        batch_statistics: normalise by the mean and variance of the given clip itself, whatever the mode, as the
            published evaluations of video inpainting do; the stored ones are neither read nor changed.
    """

    channels = 1024
    """Of the features."""

    def __init__(self, *, batch_statistics: bool = False) -> None:
        super().__init__()
        self.stages = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": Unit3D(3, 64, (7, 7, 7), stride=(2, 2, 2)),
                "MaxPool3d_2a_3x3": MaxPoolSame((1, 3, 3), (1, 2, 2)),
                "Conv3d_2b_1x1": Unit3D(64, 64),
                "Conv3d_2c_3x3": Unit3D(64, 192, (3, 3, 3)),
                "MaxPool3d_3a_3x3": MaxPoolSame((1, 3, 3), (1, 2, 2)),
            }
        )
        channels = 192
        for name, widths in MIXED.items():
            if name == "Mixed_4b":
                self.stages["MaxPool3d_4a_3x3"] = MaxPoolSame((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                self.stages["MaxPool3d_5a_2x2"] = MaxPoolSame((2, 2, 2), (2, 2, 2))
            self.stages[name] = Mixed(channels, widths)
            channels = widths[0] + widths[1][1] + widths[2][1] + widths[3]
        for module in self.modules():
            if isinstance(module, Unit3D):
                module.batch_statistics = batch_statistics

    def forward(self, clips: Tensor) -> Tensor:
        """Features of clips of any length and size.

        Args:
            clips: `(B, T, 3, H, W)` RGB; the distance of the papers takes [0, 1], not [-1, 1].

        Returns:
            `(B, 1024)`: the last stage, averaged over space and time.
        """
        x = clips.transpose(1, 2)
        for stage in self.stages.values():
            x = stage(x)
        return x.mean((2, 3, 4))


class Unit3D(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Triple = (1, 1, 1), *, stride: Triple = (1, 1, 1)) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)
        self.batch_statistics = False

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, T, H, W)` to `(B, outputs, ceil(T / stride), ...)`."""
        x = self.conv3d(pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))
        if self.batch_statistics:
            x = F.batch_norm(x, None, None, self.bn.weight, self.bn.bias, training=True, eps=self.bn.eps)
        else:
            x = self.bn(x)
        return x.relu_()


class MaxPoolSame(nn.Module):
    """Maximum with TensorFlow's padding."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """`(B, C, T, H, W)` to `(B, C, ceil(T / stride), ...)`."""
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class Mixed(nn.Module):
    """An inception block: four branches, joined; `widths` are theirs from the first to the last."""

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        point, middle, small, pooled = widths
        self.b0 = Unit3D(inputs, point)
        self.b1a = Unit3D(inputs, middle[0])
        self.b1b = Unit3D(*middle, (3, 3, 3))
        self.b2a = Unit3D(inputs, small[0])
        self.b2b = Unit3D(*small, (3, 3, 3))
        self.b3a = MaxPoolSame((3, 3, 3), (1, 1, 1))
        self.b3b = Unit3D(inputs, pooled)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, inputs, T, H, W)` to as many channels as the branches have together."""
        branches = (self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x)))
        return torch.cat(branches, dim=1)


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around the last three dimensions so that `ceil(size / stride)` positions fit, as TensorFlow's SAME.

    Where their number is odd, the end gets one more than the start.
    """
    padding: list[int] = []
    for size, width, step in zip(x.shape[2:], kernel, stride, strict=True):
        total = max(width - (size % step or step), 0)
        padding = [total // 2, total - total // 2, *padding]
    return F.pad(x, padding)
