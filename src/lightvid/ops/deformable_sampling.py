"""Sampling a clip at fractional points around reference points, weighted by attention (Deformable VisTR, Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from lightvid.ops.bags import dots, weighted_sums
from lightvid.ops.kernels import triton_is_usable
from lightvid.ops.precision import working_dtype

SamplingMode = Literal["trilinear", "per_frame"]

# Corners of sampling points that the plain implementation holds at once.
CORNERS_AT_ONCE = 2**19


def deformable_sampling(
    value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor, *, mode: SamplingMode = "trilinear"
) -> Tensor:
    """Weighted sums of a clip's features at points that every query and head chooses (Deformable VisTR, Eq. 2).

    `out[b, q, m] = sum_k softmax_k(logits[b, q, m])[k] * value[b, :, :, :, m](reference[b, q] + offsets[b, q, m, k])`

    A cell's centre lies at `(index + 0.5) / size` of its axis, and the clip is zero outside, as for `grid_sample` with
    `align_corners=False`. "trilinear" points are free in space and time, each between 8 cells; "per_frame" points lie
    in every frame, K in each, between 4 cells, with one softmax over all of them. A point that is not finite lies
    outside. All inputs get gradients (once); only the inputs are kept for them. Positions, weights and sums are at
    least float32 whatever the inputs are.

    Two runs give the same bits, except the gradient of the values on CUDA, which a kernel adds up in float32 atomics;
    with `torch.use_deterministic_algorithms(True)` the slower plain backward pass takes its place.

    Args:
        value: `(B, T, H, W, M, D)`, M heads of width D.
        reference: `(B, Q, 3)`, or `(1, Q, 3)` for all clips: x, y, t in [0, 1]. "per_frame" does not use t.
        offsets: in cells of the clip: `(B, Q, M, K, 3)` as x, y, t; "per_frame": `(B, Q, M, T, K, 2)` as x, y.
        logits: `(B, Q, M, K)`; "per_frame": `(B, Q, M, T, K)`.
        mode: "trilinear" or "per_frame".

    Returns:
        `(B, Q, M, D)`, in the dtype of `value`.

    Raises:
        ValueError: for an unknown mode, shapes that are empty or do not fit, or a clip of 2^31 numbers or more.
    """
    _check(value, reference, offsets, logits, mode)
    if mode == "per_frame":
        offsets, logits = offsets.flatten(3, 4), logits.flatten(3, 4)
    return _sample(value, reference, offsets, logits)


def _check(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor, mode: SamplingMode) -> None:
    if mode not in get_args(SamplingMode):
        raise ValueError(f"unknown mode '{mode}': choose one of {', '.join(get_args(SamplingMode))}")
    if value.dim() != 6 or 0 in value.shape:
        raise ValueError(f"expected value (B, T, H, W, M, D) without an empty side, got {tuple(value.shape)}")
    batch, frames, _, _, heads, _ = value.shape
    if value[0].numel() >= 2**31:
        raise ValueError(f"value {tuple(value.shape)} has 2^31 numbers or more per clip: sample fewer heads at a time")
    if reference.dim() != 3 or reference.shape[0] not in (1, batch) or reference.shape[2] != 3:
        raise ValueError(f"expected reference ({batch} or 1, Q, 3), got {tuple(reference.shape)}")
    expected = (batch, reference.shape[1], heads, *((frames,) if mode == "per_frame" else ()))
    names = ", ".join(map(str, expected))
    if logits.shape[:-1] != expected or logits.shape[-1] == 0:
        raise ValueError(f"expected {mode} logits ({names}, K) with K >= 1, got {tuple(logits.shape)}")
    axes = 2 if mode == "per_frame" else 3
    if offsets.shape != (*logits.shape, axes):
        raise ValueError(f"expected {mode} offsets ({names}, {logits.shape[-1]}, {axes}), got {tuple(offsets.shape)}")


# Below, offsets are (B, Q, M, P, 3), or (B, Q, M, P, 2) with the P points in order of their frames.


def _sample_plain(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    batch, queries, heads = logits.shape[:3]
    dtype = working_dtype(value, reference, offsets, logits)
    out = value.new_empty(batch, queries, heads, value.shape[-1])
    for clip, head in _heads(value):
        cells = value[clip, ..., head, :].flatten(0, 2).to(dtype)
        for part in _parts(value, offsets):
            points = _Points.of(value, reference, offsets, clip, head, part, dtype)
            weights = points.weights() * logits[clip, part, head].to(dtype).softmax(-1)[:, None, None, None]
            out[clip, part, head] = weighted_sums(points.cells().flatten(1), cells, weights.flatten(1))
    return out


def _sample_backward_plain(
    grad: Tensor, value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = working_dtype(value, reference, offsets, logits)
    d_value = value.new_empty(value.shape)
    d_reference = torch.zeros_like(reference, dtype=dtype)
    d_offsets, d_logits = offsets.new_empty(offsets.shape), logits.new_empty(logits.shape)
    for clip, head in _heads(value):
        cells = value[clip, ..., head, :].flatten(0, 2).to(dtype)
        d_cells = torch.zeros_like(cells)
        for part in _parts(value, offsets):
            points = _Points.of(value, reference, offsets, clip, head, part, dtype)
            attention = logits[clip, part, head].to(dtype).softmax(-1)
            gradient = grad[clip, part, head].to(dtype).contiguous()
            indices, weights = points.cells(), points.weights() * attention[:, None, None, None]
            d_cells += _scatter(indices.flatten(1), gradient, weights.flatten(1), len(cells))
            d_attention, d_position = points.backward(dots(indices.flatten(1), cells, gradient).view_as(weights))
            d_logits[clip, part, head] = attention * (d_attention - (attention * d_attention).sum(-1, keepdim=True))
            for axis, size in zip(range(offsets.shape[-1]), _sizes(value), strict=False):
                d_offset = attention * d_position[axis]
                d_offsets[clip, part, head, :, axis] = d_offset
                d_reference[clip % len(reference), part, axis] += d_offset.sum(-1) * size
        d_value[clip, ..., head, :] = d_cells.view(*value.shape[1:4], -1)
    return d_value, d_reference.to(reference.dtype), d_offsets, d_logits


class _Axis(NamedTuple):
    """The two cells around each of `(n, P)` positions along one axis: everything `(n, 2, P)`."""

    cell: Tensor  # int32, moved inside where the cell does not exist
    weight: Tensor  # 0 where the cell does not exist
    slope: Tensor  # derivative of the weight by the position

    @classmethod
    def of(cls, position: Tensor, size: int) -> _Axis:
        low = position.floor()
        fraction = position - low
        index = low.clamp(-1, size).int()
        exists = torch.stack(((low >= 0) & (low < size), (low >= -1) & (low < size - 1)), dim=1)
        weight = torch.stack((1 - fraction, fraction), dim=1).where(exists, 0)
        slope = exists.to(position.dtype)
        slope[:, 0].neg_()
        # Clamped as integers once more: what a NaN becomes is not defined.
        return cls(torch.stack((index, index + 1), dim=1).clamp_(0, size - 1), weight, slope)


class _Points(NamedTuple):
    """The points of n queries in one head of one clip; corners are `(n, 2, 2, 2, P)` as t, y, x.

    Points that lie in a frame have a single corner in time: `(n, 1, 2, 2, P)`.
    """

    size: tuple[int, int, int]
    x: _Axis
    y: _Axis
    t: _Axis

    @classmethod
    def of(
        cls, value: Tensor, reference: Tensor, offsets: Tensor, clip: int, head: int, part: slice, dtype: torch.dtype
    ) -> _Points:
        size = _sizes(value)
        start = reference[clip % len(reference), part].to(dtype)
        offset = offsets[clip, part, head].to(dtype)
        axes = [
            _Axis.of(offset[..., axis] + (start[:, axis, None] * size[axis] - 0.5), size[axis])
            for axis in range(offsets.shape[-1])
        ]
        if len(axes) == 2:
            points = offsets.shape[3]
            frame = torch.arange(points, dtype=torch.int32, device=value.device) // (points // size[2])
            axes.append(_Axis(frame.view(1, 1, -1), offset.new_ones(1, 1, 1), offset.new_zeros(1, 1, 1)))
        return cls(size, *axes)

    def cells(self) -> Tensor:
        width, height, _ = self.size
        rows = self.t.cell[:, :, None, None] * height + self.y.cell[:, None, :, None]
        return rows * width + self.x.cell[:, None, None]

    def weights(self) -> Tensor:
        return self.t.weight[:, :, None, None] * self.y.weight[:, None, :, None] * self.x.weight[:, None, None]

    def backward(self, d_weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Gradients of the corners' weights, to the points' own weights and their positions x, y, t: all `(n, P)`."""
        x, y, t = self.x, self.y, self.t
        along_x = (d_weights * x.weight[:, None, None]).sum(3)
        along_xy = (along_x * y.weight[:, None]).sum(2)
        d_x = (((d_weights * x.slope[:, None, None]).sum(3) * y.weight[:, None]).sum(2) * t.weight).sum(1)
        d_y = ((along_x * y.slope[:, None]).sum(2) * t.weight).sum(1)
        return (along_xy * t.weight).sum(1), (d_x, d_y, (along_xy * t.slope).sum(1))


def _scatter(indices: Tensor, gradient: Tensor, weights: Tensor, rows: int) -> Tensor:
    """Gradient of `weighted_sums` to its source: bags again, one for each row, of the queries that took from it.

    Sorting costs less than adding row by row, and the order of the sums is always the same.
    """
    target, order = indices.flatten().sort(stable=True)
    start = torch.searchsorted(target, torch.arange(rows, dtype=target.dtype, device=target.device))
    query = order.div(indices.shape[1], rounding_mode="floor")
    return F.embedding_bag(query, gradient, start, mode="sum", per_sample_weights=weights.flatten()[order])


def _heads(value: Tensor) -> Iterator[tuple[int, int]]:
    """Head by head, because the rows of one fit a cache, and each is gone through once."""
    return ((clip, head) for clip in range(value.shape[0]) for head in range(value.shape[4]))


def _parts(value: Tensor, offsets: Tensor) -> Iterator[slice]:
    """Parts of the queries; each has more corners than the clip has cells, so that the total cost stays linear."""
    queries, _, points, axes = offsets.shape[1:]
    frames, height, width = value.shape[1:4]
    at_once = max(1, max(CORNERS_AT_ONCE, 8 * frames * height * width) // (points * 2**axes))
    return (slice(start, start + at_once) for start in range(0, queries, at_once))


def _sizes(value: Tensor) -> tuple[int, int, int]:
    return value.shape[3], value.shape[2], value.shape[1]


_sample = torch.library.custom_op("lightvid::deformable_sampling", _sample_plain, mutates_args=())
_sample_backward = torch.library.custom_op(
    "lightvid::deformable_sampling_backward", _sample_backward_plain, mutates_args=()
)
_sample_backward.register_fake(_sample_backward_plain)


@_sample.register_fake
def _fake(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    if torch.compiler.is_exporting():  # the loops would fix the clip's length in the program
        return value.new_empty(*logits.shape[:3], value.shape[-1])
    return _sample_plain(value, reference, offsets, logits)  # for its memory


@_sample.register_kernel("cuda")
def _sample_cuda(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    if not triton_is_usable(value) or working_dtype(value, reference, offsets, logits) == torch.float64:
        return _sample_plain(value, reference, offsets, logits)
    from lightvid.ops.kernels.deformable_sampling import sample

    return sample(value, reference, offsets, logits)


@_sample_backward.register_kernel("cuda")
def _sample_backward_cuda(
    grad: Tensor, value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    exact = working_dtype(value, reference, offsets, logits) == torch.float64
    if exact or not triton_is_usable(value) or torch.are_deterministic_algorithms_enabled():
        return _sample_backward_plain(grad, value, reference, offsets, logits)
    from lightvid.ops.kernels.deformable_sampling import sample_backward

    return sample_backward(grad, value, reference, offsets, logits)


def _keep_inputs(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _sample_backward(grad, *ctx.saved_tensors)  # type: ignore[attr-defined]


_sample.register_autograd(_differentiate, setup_context=_keep_inputs)


@register_flop_formula(torch.ops.lightvid.deformable_sampling)
def _flops(
    value: tuple[int, ...], reference: tuple[int, ...], offsets: tuple[int, ...], *rest: object, **_: object
) -> int:
    batch, queries, heads, points, axes = offsets
    return 2 * batch * queries * heads * points * 2**axes * value[-1]


@register_flop_formula(torch.ops.lightvid.deformable_sampling_backward)
def _flops_backward(
    grad: tuple[int, ...],
    value: tuple[int, ...],
    reference: tuple[int, ...],
    offsets: tuple[int, ...],
    *rest: object,
    **_: object,
) -> int:
    return 2 * _flops(value, reference, offsets)  # to the rows, and to the weights
