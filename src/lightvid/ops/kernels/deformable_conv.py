"""Triton kernel of `lightvid.ops.deformable_conv2d`: one program takes a tile of one image's output.

The columns never reach memory: a program samples those of one tap and a block of channels in registers, and multiplies
them with their part of the weight at once. Positions and sums are float32; the factors of the product have the dtype of
the features, as in any convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Output positions of one program where nothing is tuned: in the interpreter.
BLOCK = 64
# Channels that are sampled at once, and output channels of one program: bounded by registers.
MOST_CHANNELS, MOST_OUTPUTS = 32, 128


def convolve(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """The custom operator's forward pass, for a convolution that is not grouped."""
    outputs, channels, rows, columns = weight.shape
    taps = rows * columns
    groups = offset.shape[1] // (2 * taps)
    # Channels last: what a tap takes from one pixel lies together.
    features, kernel = x.permute(0, 2, 3, 1).contiguous(), weight.to(x.dtype).permute(2, 3, 1, 0).contiguous()
    tensors = [
        features,
        offset.contiguous(),
        kernel,
        *(features if t is None else t.contiguous() for t in (mask, bias)),
    ]
    out = x.new_empty(len(x), outputs, *offset.shape[2:])
    sizes = (*x.shape[2:], *out.shape[2:], groups, channels // groups, outputs, *stride, *padding, *dilation)
    constants = {
        "ROWS": rows,
        "COLUMNS": columns,
        "HAS_MASK": mask is not None,
        "HAS_BIAS": bias is not None,
        "CHANNELS": min(MOST_CHANNELS, max(16, triton.next_power_of_2(channels // groups))),
        "OUTPUTS": min(MOST_OUTPUTS, max(16, triton.next_power_of_2(outputs))),
        "TF32": x.dtype == torch.float32 and _tf32_is_allowed(),
        "INTERPRETED": not x.is_cuda,
    }
    positions, blocks = out.shape[2] * out.shape[3], triton.cdiv(outputs, constants["OUTPUTS"])
    with torch.cuda.device_of(x):
        if x.is_cuda:
            _tuned()[lambda chosen: (triton.cdiv(positions, chosen["BLOCK"]), blocks, len(x))](
                *tensors, out, *sizes, **constants
            )
        else:
            _convolve_kernel[(triton.cdiv(positions, BLOCK), blocks, len(x))](
                *tensors, out, *sizes, **constants, BLOCK=BLOCK
            )
    return out


def _tf32_is_allowed() -> bool:
    """The user's choice for convolutions. Where PyTorch has its newer setting, the older one cannot always be read."""
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    if convolutions is None:
        return torch.backends.cudnn.allow_tf32
    return convolutions.fp32_precision == "tf32"


@functools.cache
def _tuned() -> Any:
    """Built at the first launch: decorating with several configurations needs a GPU."""
    configs = [triton.Config({"BLOCK": block}, num_warps=warps) for block in (32, 64, 128) for warps in (4, 8)]
    return triton.autotune(configs, key=["group_channels", "outputs", "HAS_MASK"])(_convolve_kernel)


@triton.jit
def _convolve_kernel(
    features: tl.tensor,
    offset: tl.tensor,
    weight: tl.tensor,
    mask: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    out_height: tl.tensor,
    out_width: tl.tensor,
    groups: tl.tensor,
    group_channels: tl.tensor,
    outputs: tl.tensor,
    stride_y: tl.tensor,
    stride_x: tl.tensor,
    padding_y: tl.tensor,
    padding_x: tl.tensor,
    dilation_y: tl.tensor,
    dilation_x: tl.tensor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    HAS_MASK: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    TF32: tl.constexpr,
    INTERPRETED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    image, positions = tl.program_id(2).to(tl.int64), out_height * out_width
    position = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    exists = position < positions
    output = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    first_y = position // out_width * stride_y - padding_y
    first_x = position % out_width * stride_x - padding_x
    channels = groups * group_channels
    first = features + image * height * width * channels

    total = tl.zeros((BLOCK, OUTPUTS), tl.float32)
    for sample in range(groups * ROWS * COLUMNS):
        group, tap = sample // (ROWS * COLUMNS), sample % (ROWS * COLUMNS)
        plane = (image * groups * ROWS * COLUMNS + sample) * positions
        shift = offset + 2 * plane + position
        y = first_y + tap // COLUMNS * dilation_y + tl.load(shift, mask=exists, other=0.0).to(tl.float32)
        x = first_x + tap % COLUMNS * dilation_x + tl.load(shift + positions, mask=exists, other=0.0).to(tl.float32)
        modulation = tl.where(exists, 1.0, 0.0)
        if HAS_MASK:
            modulation = tl.load(mask + plane + position, mask=exists, other=0.0).to(tl.float32)
        for start in range(0, group_channels, CHANNELS):
            inside = start + tl.arange(0, CHANNELS)
            channel = group * group_channels + inside
            is_channel = inside < group_channels
            column = _sample(first + channel[None, :], y, x, modulation, is_channel, channels, height, width)
            kernel = tl.load(
                weight + (tap * channels + channel)[:, None] * outputs + output[None, :],
                mask=is_channel[:, None] & (output < outputs)[None, :],
                other=0.0,
            )
            if INTERPRETED:  # which gets products of bfloat16 wrong
                total += tl.dot(column, kernel.to(tl.float32))
            else:
                total = tl.dot(column.to(kernel.dtype), kernel, total, input_precision="tf32" if TF32 else "ieee")
    if HAS_BIAS:
        total += tl.load(bias + output, mask=output < outputs, other=0.0).to(tl.float32)[None, :]
    place = out + (image * outputs + output)[None, :] * positions + position[:, None]
    tl.store(place, total.to(out.dtype.element_ty), mask=exists[:, None] & (output < outputs)[None, :])


@triton.jit
def _sample(
    features: tl.tensor,
    y: tl.tensor,
    x: tl.tensor,
    modulation: tl.tensor,
    is_channel: tl.tensor,
    channels: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
) -> tl.tensor:
    """Features at the positions, `(BLOCK, CHANNELS)`: bilinear, zero outside, times the modulation."""
    sampled = tl.zeros((y.shape[0], is_channel.shape[0]), tl.float32)
    for corner in tl.static_range(4):
        row, weight_y = _pixel(y, height, corner // 2)
        column, weight_x = _pixel(x, width, corner % 2)
        weight = weight_y * weight_x * modulation
        pixel = (row * width + column) * channels
        taken = tl.load(features + pixel[:, None], mask=(weight != 0.0)[:, None] & is_channel[None, :], other=0.0)
        sampled += weight[:, None] * taken.to(tl.float32)
    return sampled


@triton.jit
def _pixel(position: tl.tensor, size: tl.tensor, SIDE: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """The lower (0) or upper (1) pixel around a position and its weight, 0 where it does not exist.

    The index is moved inside before it is ever an address: a mask that is not finite leaves no weight at 0.
    """
    low = tl.floor(position)
    exists = (low + SIDE >= 0) & (low + SIDE < size)
    weight = position - low if SIDE == 1 else 1 - (position - low)
    index = tl.where(exists, low, 0.0).to(tl.int32) + SIDE
    return tl.minimum(tl.maximum(index, 0), size - 1), tl.where(exists, weight, 0.0)
