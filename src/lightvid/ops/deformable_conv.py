"""Deformable convolution: every output position shifts, and may weigh, the taps of its kernel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lightvid.ops.deformable_columns import Sampler
from lightvid.ops.kernels import triton_is_usable
from lightvid.ops.precision import without_autocast, working_dtype


def deformable_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """2-D convolution with shifted taps (Dai et al., ICCV 2017), with a mask also weighted (v2, Zhu et al., CVPR 2019).

    `out[p] = bias + sum_k weight[k] * mask[k, p] * x(p * stride - padding + k * dilation + offset[k, p])`

    Features between pixels are bilinear, and zero from one pixel outside of the map on. The channels of `x` fall into G
    groups in order, each with offsets of its own; G follows from `offset`. The layout is that of torchvision and mmcv.
    A tap whose position is not finite lies outside. All inputs get gradients (once); only the inputs are kept for them.
    Positions, weights and sums are at least float32 whatever the inputs are; on CUDA the Triton kernel rounds what the
    taps take, and `weight`, to the dtype of `x` before it multiplies them, as any convolution does.

    Args:
        x: `(N, C, H, W)`.
        offset: `(N, 2 * G * kh * kw, h, w)` in pixels of `x`: for every group and tap, row by row, first y, then x.
        weight: `(D, C / groups, kh, kw)`; grouped as in `torch.nn.functional.conv2d` where it has fewer channels.
        bias: `(D)`.
        mask: `(N, G * kh * kw, h, w)`, for every group and tap.
        stride: in pixels, one number or (rows, columns); so are `padding` and `dilation`.
        padding: zeros on each side.
        dilation: between taps.

    Returns:
        `(N, D, h, w)`, in the dtype of `x`.

    Raises:
        ValueError: for shapes that do not fit each other, a kernel larger than the padded map, or an image of 2^31
            numbers or more.
    """
    stride, padding, dilation = (
        [value, value] if isinstance(value, int) else list(value) for value in (stride, padding, dilation)
    )
    _check(x, offset, weight, bias, mask, stride, padding, dilation)
    return _convolve(x, offset, weight, bias, mask, stride, padding, dilation)


def _check(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> None:
    for name, value, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if len(value) != 2 or min(value) < least:
            raise ValueError(f"expected {name} >= {least}, one number or (rows, columns), got {tuple(value)}")
    if x.dim() != 4:
        raise ValueError(f"expected x (N, C, H, W), got {tuple(x.shape)}")
    if math.prod(x.shape[1:]) >= 2**31:
        raise ValueError(f"x {tuple(x.shape)} has 2^31 numbers or more per image: cut it into tiles")
    channels = x.shape[1]
    if weight.dim() != 4 or 0 in weight.shape:
        raise ValueError(f"expected weight (D, C / groups, kh, kw) without an empty side, got {tuple(weight.shape)}")
    if channels % weight.shape[1] or len(weight) % (channels // weight.shape[1]):
        raise ValueError(f"expected weight (D, {channels} / groups, kh, kw), got {tuple(weight.shape)}")
    kernel, taps = weight.shape[2:], weight.shape[2] * weight.shape[3]
    height, width = (
        (x.shape[2 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in range(2)
    )
    if min(height, width) < 1:
        raise ValueError(f"the kernel {tuple(kernel)} with its dilation is larger than the padded x {tuple(x.shape)}")
    groups = offset.shape[1] // (2 * taps) if offset.dim() == 4 else 0
    if groups < 1 or channels % groups or offset.shape != (x.shape[0], 2 * groups * taps, height, width):
        raise ValueError(
            f"expected offset ({len(x)}, 2 * G * {taps}, {height}, {width}), where G divides {channels}, "
            f"got {tuple(offset.shape)}"
        )
    if mask is not None and mask.shape != (x.shape[0], groups * taps, height, width):
        raise ValueError(f"expected mask ({len(x)}, {groups * taps}, {height}, {width}), got {tuple(mask.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"expected bias ({len(weight)},), got {tuple(bias.shape)}")


def _convolve_plain(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    dtype = working_dtype(x, offset, weight, bias, mask)
    sampler = Sampler(x, offset, mask, tuple(weight.shape[2:]), stride, padding, dilation, dtype)
    kernels = _Kernels(weight.to(dtype).flatten(2), x.shape[1] // weight.shape[1])
    start = weight.new_zeros(len(weight), dtype=dtype) if bias is None else bias.to(dtype)
    out = x.new_empty(len(x), len(weight), *offset.shape[2:])
    with without_autocast(x.device):
        for image, rows in sampler.tiles():
            sums = list(start[:, None].chunk(kernels.groups))
            for samples in sampler.samples(image, rows):
                columns = samples.columns() if samples.mask is None else samples.columns().mul_(samples.mask)
                for group, taken, kernel in kernels.of(samples.channels):
                    sums[group] = torch.addmm(sums[group], kernel.flatten(1), _matrix(columns, taken))
            out[image, :, rows] = torch.cat(sums).unflatten(1, (-1, out.shape[3]))
    return out


def _convolve_backward_plain(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, offset, weight and mask, the last one empty without a mask."""
    dtype = working_dtype(x, offset, weight, mask)
    sampler = Sampler(x, offset, mask, tuple(weight.shape[2:]), stride, padding, dilation, dtype)
    kernels = _Kernels(weight.to(dtype).flatten(2), x.shape[1] // weight.shape[1])
    d_kernels = _Kernels(torch.zeros_like(kernels.weight), kernels.groups)
    d_x, d_offset = torch.zeros_like(x, dtype=dtype), offset.new_empty(offset.shape)
    d_mask = offset.new_empty(0) if mask is None else mask.new_empty(mask.shape)
    with without_autocast(x.device):
        for image, rows in sampler.tiles():
            gradients = grad[image, :, rows].to(dtype).flatten(1).chunk(kernels.groups)
            for samples in sampler.samples(image, rows):
                columns = samples.columns()
                d_columns = torch.empty_like(columns)
                for group, taken, kernel in kernels.of(samples.channels):
                    torch.mm(kernel.flatten(1).mT, gradients[group], out=_matrix(d_columns, taken))
                if samples.mask is not None:
                    d_mask[image, samples.masks, rows] = _rows((columns * d_columns).sum(1), offset)
                    columns, d_columns = columns.mul_(samples.mask), d_columns.mul_(samples.mask)
                for group, taken, d_kernel in d_kernels.of(samples.channels):
                    d_kernel += gradients[group].mm(_matrix(columns, taken).mT).view_as(d_kernel)
                d_features, d_positions = samples.backward(d_columns)
                d_x[image, samples.channels] += d_features.flatten(0, 1)[:, : x.shape[2], : x.shape[3]]
                d_offset[image, samples.offsets, rows] = _rows(d_positions, offset)
    return d_x.to(x.dtype), d_offset, d_kernels.weight.view_as(weight).to(weight.dtype), d_mask


class _Kernels(NamedTuple):
    """The weight `(D, C / groups, taps)` of a grouped convolution."""

    weight: Tensor
    groups: int

    def of(self, channels: slice) -> Iterator[tuple[int, slice, Tensor]]:
        """Per group that takes any of these input channels: its number, which of them, and that part of the weight."""
        outputs, inputs = len(self.weight) // self.groups, self.weight.shape[1]
        for group in range(channels.start // inputs, (channels.stop - 1) // inputs + 1):
            first, last = max(channels.start, group * inputs), min(channels.stop, (group + 1) * inputs)
            part = self.weight[group * outputs : (group + 1) * outputs, first - group * inputs : last - group * inputs]
            yield group, slice(first - channels.start, last - channels.start), part


def _matrix(columns: Tensor, channels: slice) -> Tensor:
    """Some channels of `(k, c, taps, n)`, as `(channels * taps, n)`."""
    return columns.flatten(0, 1)[channels].flatten(0, 1)


def _rows(values: Tensor, offset: Tensor) -> Tensor:
    """Numbers of n positions, last, to the layout of the rows of `offset`."""
    return values.reshape(-1, values.shape[-1] // offset.shape[3], offset.shape[3])


_convolve = torch.library.custom_op("lightvid::deformable_conv2d", _convolve_plain, mutates_args=())
_convolve_backward = torch.library.custom_op(
    "lightvid::deformable_conv2d_backward", _convolve_backward_plain, mutates_args=()
)
_convolve_backward.register_fake(_convolve_backward_plain)


@_convolve.register_fake
def _fake(x: Tensor, offset: Tensor, weight: Tensor, *options: Any) -> Tensor:
    if torch.compiler.is_exporting():  # the loops would fix the number of images in the program
        return x.new_empty(x.shape[0], weight.shape[0], *offset.shape[2:])
    return _convolve_plain(x, offset, weight, *options)  # for its memory


@_convolve.register_kernel("cuda")
def _convolve_cuda(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    grouped = weight.shape[1] < x.shape[1]
    if grouped or not triton_is_usable(x) or working_dtype(x, offset, weight, bias, mask) == torch.float64:
        return _convolve_plain(x, offset, weight, bias, mask, stride, padding, dilation)
    from lightvid.ops.kernels.deformable_conv import convolve

    return convolve(x, offset, weight, bias, mask, stride, padding, dilation)


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, weight, bias, mask, *ctx.geometry = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(x, offset, weight, mask)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, offset, weight, mask = ctx.saved_tensors  # read once: under torch's checkpoint a second time fails
    d_x, d_offset, d_weight, d_mask = _convolve_backward(grad, x, offset, weight, mask, *ctx.geometry)
    d_bias = None if ctx.bias_dtype is None else grad.sum((0, 2, 3)).to(ctx.bias_dtype)
    return d_x, d_offset, d_weight, d_bias, None if mask is None else d_mask, None, None, None


_convolve.register_autograd(_differentiate, setup_context=_keep_inputs)


@register_flop_formula(torch.ops.lightvid.deformable_conv2d)
def _flops(x: tuple[int, ...], offset: tuple[int, ...], weight: tuple[int, ...], *rest: object, **_: object) -> int:
    return _sampling_flops(x, offset, weight) + _product_flops(offset, weight)


@register_flop_formula(torch.ops.lightvid.deformable_conv2d_backward)
def _flops_backward(
    grad: tuple[int, ...],
    x: tuple[int, ...],
    offset: tuple[int, ...],
    weight: tuple[int, ...],
    *rest: object,
    **_: object,
) -> int:
    """Samples again, their gradients to the corners and to the positions; products to the samples and the weight."""
    return 3 * _sampling_flops(x, offset, weight) + 2 * _product_flops(offset, weight)


def _sampling_flops(x: tuple[int, ...], offset: tuple[int, ...], weight: tuple[int, ...]) -> int:
    """Four corners of every sample."""
    return 2 * 4 * x[0] * x[1] * math.prod(weight[2:]) * math.prod(offset[2:])


def _product_flops(offset: tuple[int, ...], weight: tuple[int, ...]) -> int:
    """The convolution itself."""
    return 2 * offset[0] * math.prod(weight) * math.prod(offset[2:])
