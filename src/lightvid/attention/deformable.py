"""Spatio-temporal deformable attention of Deformable VisTR."""

from __future__ import annotations

import math
from typing import ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightvid.errors import ConfigurationError
from lightvid.ops.deformable_sampling import SamplingMode, deformable_sampling
from lightvid.ops.precision import cast_for_autocast, without_autocast

# Offsets and logits that are held at once: 16 MiB in float32.
ELEMENTS_AT_ONCE = 2**22
TIME_FEATURES = 32


class DeformableAttention(nn.Module):
    """Attention to a few sampled points of the clip (Deformable VisTR, Yarram et al., ICIP 2022, Eq. 2).

    Every token chooses, for each head, points around itself and their weights, by a linear layer. "trilinear" points
    are free in space and time, and the cost is linear in the number of tokens; a point may leave the clip, where it
    contributes zero. "per_frame" takes K points in every frame, as the paper's released code does for 36 frames; here
    a frame's points depend on the token and on how far away the frame is, so that any number of frames works, and the
    cost grows with the square of that number.

    Heads pass in groups, and offsets and weights, 2.7 times the features at the published size, are computed again in
    the backward pass: what stays for it is the input and the sampled features. Under a residual scheme that itself
    computes a block again, the sampling runs three times in all.

    The published recipe trains the layers that predict offsets at 0.1 times the learning rate: all of `sampling`.

    Args:
        channels: width of the tokens, divisible by `heads`.
        heads: number of heads.
        points: K, points of each head; published: 32 ("trilinear"), 6 in each frame ("per_frame").
        mode: "trilinear" or "per_frame".
        frames: "trilinear" only: the frames around its own over which a token's points are spread at the start.
    """

    positioned: ClassVar[bool] = True  # its forward takes `positions` and `padding`

    def __init__(
        self, channels: int, *, heads: int = 8, points: int = 32, mode: SamplingMode = "trilinear", frames: int = 5
    ) -> None:
        super().__init__()
        if mode not in get_args(SamplingMode):
            raise ConfigurationError(f"unknown mode '{mode}': choose one of {', '.join(get_args(SamplingMode))}")
        if min(heads, points, frames) < 1:
            raise ConfigurationError(
                f"deformable attention needs at least 1 head, point and frame, got {heads}, {points} and {frames}"
            )
        if channels % heads:
            raise ConfigurationError(
                f"{channels} channels do not split into {heads} equal heads: change channels or heads"
            )
        self.heads = heads
        self.mode = mode
        self.value = nn.Linear(channels, channels)
        self.sampling: TrilinearPoints | PerFramePoints
        if mode == "trilinear":
            self.sampling = TrilinearPoints(channels, heads, points, frames)
        else:
            self.sampling = PerFramePoints(channels, heads, points)
        self.output = nn.Linear(channels, channels)
        for layer in (self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, holes: Tensor | None = None, *, positions: Tensor | None = None, padding: Tensor | None = None
    ) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`, any T (1 for images), H and W.
            holes: not used; holes are tokens like others.
            positions: `(B or 1, T, H, W, C)`, added to the tokens that choose points, not to values.
            padding: `(B, T, H, W)`, True for tokens that are no part of the clip: their values are 0, as beyond its
                border.

        Returns:
            `(B, T, H, W, C)`.
        """
        x = cast_for_autocast(x)
        groups = self._groups(x)
        if torch.is_grad_enabled():
            sampled = [
                checkpoint(self._sample, x, positions, padding, group, use_reentrant=False, preserve_rng_state=False)
                for group in groups
            ]
        else:
            sampled = [self._sample(x, positions, padding, group) for group in groups]
        return self.output(torch.cat(sampled, dim=-1).view(x.shape))

    def _groups(self, x: Tensor) -> list[slice]:
        """The heads that pass together; in an exported program all, for any batch and length of a clip."""
        if torch.compiler.is_exporting():
            return [slice(0, self.heads)]
        at_once = max(1, ELEMENTS_AT_ONCE // (x[..., 0].numel() * self.sampling.numbers(x.shape[1])))
        return [slice(first, min(first + at_once, self.heads)) for first in range(0, self.heads, at_once)]

    def _sample(self, x: Tensor, positions: Tensor | None, padding: Tensor | None, heads: slice) -> Tensor:
        """Some heads, from the tokens to their own channels `(B, T * H * W, ...)`."""
        width = x.shape[-1] // self.heads
        channels = slice(heads.start * width, heads.stop * width)
        value = F.linear(x, self.value.weight[channels], self.value.bias[channels])
        if padding is not None:
            value = value.masked_fill(padding.unsqueeze(-1), 0)
        value = value.unflatten(-1, (-1, width))
        offsets, logits = self.sampling(x if positions is None else x + positions, heads)
        return deformable_sampling(value, cell_centres(x), offsets, logits, mode=self.mode).flatten(2)


class TrilinearPoints(nn.Module):
    """Offsets in space and time, and attention logits, of every token: linear in its features.

    At the start the points do not depend on the token: each head looks in its own direction, as in Deformable DETR
    (Zhu et al., ICLR 2021), at the token's frame and those around it in turn, the farther the later the point.
    """

    def __init__(self, channels: int, heads: int, points: int, frames: int) -> None:
        super().__init__()
        self.heads = heads
        self.points = points
        self.frames = frames
        self.query = nn.Linear(channels, heads * points * 4)
        self.init_weights()

    def init_weights(self) -> None:
        """Set the start described above."""
        nn.init.zeros_(self.query.weight)
        order = torch.arange(self.points)
        turn = order % self.frames
        start = torch.zeros(self.heads, self.points, 4)  # x, y, t, logit
        start[..., :2] = head_directions(self.heads).unsqueeze(1) * (1 + order // self.frames).unsqueeze(-1)
        start[..., 2] = torch.where(turn % 2 == 1, (turn + 1) // 2, -(turn // 2))  # 0, 1, -1, 2, -2, ...
        with torch.no_grad():
            self.query.bias.copy_(start.flatten())

    def numbers(self, frames: int) -> int:
        """Offsets and logits of one token and head."""
        return 4 * self.points

    def forward(self, x: Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """From `(B, T, H, W, C)` to `(B, THW, M, K, 3)` and `(B, THW, M, K)`, M a part of the heads."""
        points = linear_of_heads(self.query, x, heads, self.heads).flatten(1, 3).unflatten(-1, (-1, self.points, 4))
        return points[..., :3], points[..., 3]


class PerFramePoints(nn.Module):
    """Offsets in every frame, and attention logits: from the token's features plus the time from its frame to that one.

    At the start each head looks in its own direction, in all frames alike.
    """

    def __init__(self, channels: int, heads: int, points: int) -> None:
        super().__init__()
        self.heads = heads
        self.points = points
        self.query = nn.Linear(channels, heads * points * 3)
        self.time = nn.Linear(TIME_FEATURES, heads * points * 3, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Set the start described above."""
        nn.init.zeros_(self.query.weight)
        nn.init.zeros_(self.time.weight)
        start = torch.zeros(self.heads, self.points, 3)  # x, y, logit
        start[..., :2] = head_directions(self.heads).unsqueeze(1) * torch.arange(1, self.points + 1).unsqueeze(-1)
        with torch.no_grad():
            self.query.bias.copy_(start.flatten())

    def numbers(self, frames: int) -> int:
        """Offsets and logits of one token and head."""
        return 3 * self.points * frames

    def forward(self, x: Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """From `(B, T, H, W, C)` to `(B, THW, M, T, K, 2)` and `(B, THW, M, T, K)`, M a part of the heads."""
        shape = (-1, self.points, 3)
        content = linear_of_heads(self.query, x, heads, self.heads).flatten(2, 3).unflatten(-1, shape).unsqueeze(4)
        frames = torch.arange(x.shape[1], device=x.device)
        difference = frames - frames.unsqueeze(1)  # (T of the token, T)
        features = sine_of_time(difference).to(self.time.weight.dtype)
        time = linear_of_heads(self.time, features, heads, self.heads).unflatten(-1, shape)
        time = time.transpose(1, 2).unsqueeze(1)  # (T, 1, M, T, K, 3)
        offsets = content[..., :2] + time[..., :2]
        logits = content[..., 2] + time[..., 2]
        return offsets.flatten(1, 2), logits.flatten(1, 2)


def cell_centres(x: Tensor) -> Tensor:
    """Reference points of tokens `(B, T, H, W, C)`: their cells' centres, `(1, T * H * W, 3)` as x, y, t in [0, 1]."""
    axes = [(torch.arange(size, device=x.device, dtype=torch.float32) + 0.5) / size for size in x.shape[1:4]]
    t, y, x_ = torch.meshgrid(*axes, indexing="ij")
    return torch.stack((x_, y, t), dim=-1).view(1, -1, 3)


def head_directions(heads: int) -> Tensor:
    """A direction for each head, `(M, 2)` as x, y, evenly around a square of side 2."""
    angle = torch.arange(heads) * (2 * math.pi / heads)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    return direction / direction.abs().amax(-1, keepdim=True)


def linear_of_heads(layer: nn.Linear, x: Tensor, heads: slice, of: int) -> Tensor:
    """The outputs of a linear layer that belong to some of its heads, in the dtype of its weights under autocast, too.

    Offsets in bfloat16 would be multiples of 1/32 of a cell from 4 cells on, and of 1/16 from 8.
    """
    width = layer.out_features // of
    rows = slice(heads.start * width, heads.stop * width)
    with without_autocast(x.device):
        return F.linear(x.to(layer.weight.dtype), layer.weight[rows], None if layer.bias is None else layer.bias[rows])


def sine_of_time(difference: Tensor) -> Tensor:
    """Sines and cosines of a number of frames, `(..., TIME_FEATURES)`, as in Vaswani et al., NeurIPS 2017, 3.5."""
    exponent = torch.arange(0, TIME_FEATURES, 2, device=difference.device) / TIME_FEATURES
    angle = difference.unsqueeze(-1) * torch.pow(10000.0, -exponent)
    return torch.cat((angle.sin(), angle.cos()), dim=-1)
