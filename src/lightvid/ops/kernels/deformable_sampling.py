"""Triton kernels of `lightvid.ops.deformable_sampling`: one program takes a block of queries of one head and clip.

Gathers are bound by memory, so a program keeps no corner longer than it takes to add it. Numbers are float32 from the
moment they are loaded, and the gradient of the values is added up in float32 atomics.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# Queries of one program where nothing is tuned: in the interpreter.
BLOCK = 16


def sample(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """Shapes of the custom operator: offsets `(B, Q, M, P, 3)`, or `(B, Q, M, P, 2)` with the points in frame order."""
    inputs = [tensor.contiguous() for tensor in (value, reference, offsets, logits)]
    out = value.new_empty(*logits.shape[:3], value.shape[-1])
    _launch(_sample_kernel, (*inputs, out), value, reference, offsets)
    return out


def sample_backward(
    grad: Tensor, value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of value, reference, offsets and logits."""
    attention = logits.float().softmax(-1)
    inputs = [tensor.contiguous() for tensor in (grad, value, reference, offsets, attention)]
    d_value = torch.zeros(value.shape, dtype=torch.float32, device=value.device)
    d_offsets = torch.empty(offsets.shape, dtype=torch.float32, device=value.device)
    d_attention = torch.empty_like(inputs[-1])
    _launch(_sample_backward_kernel, (*inputs, d_value, d_offsets, d_attention), value, reference, offsets)
    d_logits = attention * (d_attention - (attention * d_attention).sum(-1, keepdim=True))
    d_reference = d_offsets.new_zeros(*offsets.shape[:2], 3)
    for axis, size in zip(range(offsets.shape[-1]), (value.shape[3], value.shape[2], value.shape[1]), strict=False):
        d_reference[..., axis] = d_offsets[..., axis].sum((2, 3)) * size
    return (
        d_value.to(value.dtype),
        d_reference.sum_to_size(reference.shape).to(reference.dtype),
        d_offsets.to(offsets.dtype),
        d_logits.to(logits.dtype),
    )


def _launch(kernel: Any, tensors: tuple[Tensor, ...], value: Tensor, reference: Tensor, offsets: Tensor) -> None:
    batch, frames, height, width, heads, channels = value.shape
    queries, points, axes = offsets.shape[1], offsets.shape[3], offsets.shape[4]
    reference_stride = reference.shape[1] * 3 if len(reference) > 1 else 0
    sizes = (queries, frames, height, width, heads, points, reference_stride)
    widths = {"AXES": axes, "D": channels, "D_BLOCK": triton.next_power_of_2(channels)}
    with torch.cuda.device_of(value):
        if value.is_cuda:
            _tuned(kernel)[lambda chosen: (triton.cdiv(queries, chosen["BLOCK"]), heads, batch)](
                *tensors, *sizes, **widths
            )
        else:
            kernel[(triton.cdiv(queries, BLOCK), heads, batch)](*tensors, *sizes, **widths, BLOCK=BLOCK)


@functools.cache
def _tuned(kernel: Any) -> Any:
    """Built at the first launch: decorating with several configurations needs a GPU."""
    configs = [triton.Config({"BLOCK": block}, num_warps=warps) for block in (8, 16, 32, 64) for warps in (2, 4, 8)]
    summed = ["d_value"] if kernel is _sample_backward_kernel else None
    return triton.autotune(configs, key=["AXES", "D"], reset_to_zero=summed)(kernel)


@triton.jit
def _sample_kernel(
    value: tl.tensor,
    reference: tl.tensor,
    offsets: tl.tensor,
    logits: tl.tensor,
    out: tl.tensor,
    queries: tl.tensor,
    frames: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    points: tl.tensor,
    reference_stride: tl.tensor,
    AXES: tl.constexpr,
    D: tl.constexpr,
    D_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    head, clip = tl.program_id(1), tl.program_id(2).to(tl.int64)
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_query = query < queries
    channel = tl.arange(0, D_BLOCK)[None, :]
    row = (clip * queries + query) * heads + head
    first = value + clip * frames * height * width * heads * D + head * D
    centre = reference + clip * reference_stride + query * 3

    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    for k in range(points):
        largest = tl.maximum(largest, tl.load(logits + row * points + k, mask=is_query, other=0.0).to(tl.float32))
    total = tl.zeros((BLOCK,), tl.float32)
    summed = tl.zeros((BLOCK, D_BLOCK), tl.float32)
    for k in range(points):
        logit = tl.load(logits + row * points + k, mask=is_query, other=0.0).to(tl.float32)
        attention = tl.exp(logit - largest)
        total += attention
        x, y, t = _position(
            offsets + (row * points + k) * AXES, centre, is_query, k, points, frames, height, width, AXES
        )
        for corner in tl.static_range(2**AXES):
            column, weight_x, _ = _cell(x, width, corner % 2)
            line, weight_y, _ = _cell(y, height, corner // 2 % 2)
            frame, weight_t, _ = _cell(t, frames, corner // 4)
            weight = tl.where(is_query, weight_x * weight_y * weight_t, 0.0)
            cell = ((frame * height + line) * width + column) * heads * D
            features = tl.load(
                first + cell[:, None] + channel, mask=(weight != 0.0)[:, None] & (channel < D), other=0.0
            ).to(tl.float32)
            summed += (attention * weight)[:, None] * features
    summed = summed / total[:, None]
    tl.store(out + row[:, None] * D + channel, summed.to(out.dtype.element_ty), mask=is_query[:, None] & (channel < D))


@triton.jit
def _sample_backward_kernel(
    grad: tl.tensor,
    value: tl.tensor,
    reference: tl.tensor,
    offsets: tl.tensor,
    attention: tl.tensor,
    d_value: tl.tensor,
    d_offsets: tl.tensor,
    d_attention: tl.tensor,
    queries: tl.tensor,
    frames: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    heads: tl.tensor,
    points: tl.tensor,
    reference_stride: tl.tensor,
    AXES: tl.constexpr,
    D: tl.constexpr,
    D_BLOCK: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    head, clip = tl.program_id(1), tl.program_id(2).to(tl.int64)
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_query = query < queries
    channel = tl.arange(0, D_BLOCK)[None, :]
    row = (clip * queries + query) * heads + head
    first = clip * frames * height * width * heads * D + head * D
    centre = reference + clip * reference_stride + query * 3
    gradient = tl.load(grad + row[:, None] * D + channel, mask=is_query[:, None] & (channel < D), other=0.0)
    gradient = gradient.to(tl.float32)

    for k in range(points):
        probability = tl.load(attention + row * points + k, mask=is_query, other=0.0).to(tl.float32)
        point = (row * points + k) * AXES
        x, y, t = _position(offsets + point, centre, is_query, k, points, frames, height, width, AXES)
        d_x, d_y, d_t = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
        d_probability = tl.zeros_like(x)
        for corner in tl.static_range(2**AXES):
            column, weight_x, slope_x = _cell(x, width, corner % 2)
            line, weight_y, slope_y = _cell(y, height, corner // 2 % 2)
            frame, weight_t, slope_t = _cell(t, frames, corner // 4)
            exists = is_query & (slope_x * slope_y * slope_t != 0.0)
            used = exists[:, None] & (channel < D)
            cell = first + (((frame * height + line) * width + column) * heads * D)[:, None] + channel
            features = tl.load(value + cell, mask=used, other=0.0).to(tl.float32)
            along = tl.sum(features * gradient, axis=1)
            weight = weight_x * weight_y * weight_t
            tl.atomic_add(d_value + cell, (probability * weight)[:, None] * gradient, mask=used, sem="relaxed")
            d_probability += weight * along
            d_x += slope_x * weight_y * weight_t * along
            d_y += weight_x * slope_y * weight_t * along
            d_t += weight_x * weight_y * slope_t * along
        tl.store(d_attention + row * points + k, d_probability, mask=is_query)
        tl.store(d_offsets + point, probability * d_x, mask=is_query)
        tl.store(d_offsets + point + 1, probability * d_y, mask=is_query)
        if AXES == 3:
            tl.store(d_offsets + point + 2, probability * d_t, mask=is_query)


@triton.jit
def _position(
    offset: tl.tensor,
    centre: tl.tensor,
    is_query: tl.tensor,
    k: tl.tensor,
    points: tl.tensor,
    frames: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    AXES: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Where the k-th points lie, in cells: x, y, t, each one number per query."""
    x = tl.load(centre, mask=is_query, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(centre + 1, mask=is_query, other=0.0).to(tl.float32) * height - 0.5
    x += tl.load(offset, mask=is_query, other=0.0).to(tl.float32)
    y += tl.load(offset + 1, mask=is_query, other=0.0).to(tl.float32)
    if AXES == 3:
        t = tl.load(centre + 2, mask=is_query, other=0.0).to(tl.float32) * frames - 0.5
        t += tl.load(offset + 2, mask=is_query, other=0.0).to(tl.float32)
    else:
        t = tl.zeros_like(x) + k // (points // frames)
    return x, y, t


@triton.jit
def _cell(position: tl.tensor, size: tl.tensor, SIDE: tl.constexpr) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The lower (0) or upper (1) cell around a position: its index, its weight and the weight's derivative.

    Where it does not exist weight and derivative are 0, and the index is moved inside before it is ever an address.
    """
    low = tl.floor(position)
    exists = (low + SIDE >= 0) & (low + SIDE < size)
    index = tl.where(exists, low, 0.0).to(tl.int32) + SIDE
    fraction = position - low
    weight = fraction if SIDE == 1 else 1 - fraction
    slope = 1.0 if SIDE == 1 else -1.0
    return tl.minimum(tl.maximum(index, 0), size - 1), tl.where(exists, weight, 0.0), tl.where(exists, slope, 0.0)
