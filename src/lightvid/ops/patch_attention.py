"""Attention to the nearest neighbours of patches, given the neighbours: the differentiable half of PSAL."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lightvid.ops.bags import dots, weighted_sums
from lightvid.ops.patch_aggregation import KeyBags, WindowCandidates
from lightvid.ops.patch_gradients import cost_gradients
from lightvid.ops.patches import Patch, Similarity, check_volumes, patch_costs, patch_size
from lightvid.ops.precision import working_dtype


def patch_readout(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    index: Tensor,
    *,
    patch: Patch = 7,
    similarity: Similarity = "l2",
    temperature: float | Tensor = 0.1,
) -> Tensor:
    """Attention of every query to its own neighbours (PSAL, Cherel et al., Pattern Recognition Letters 2024, Eq. 5, 9).

    `out[i] = sum_k softmax_k(-cost[i, k] / temperature) * value[index[i, k]]`, where a cost is that of `patch_costs`.
    A query without neighbours gets zeros. The field `index` is constant; the other inputs get gradients (once), except
    that of a single neighbour the weight is 1 whatever query and key are, and their gradients are zero. Only the
    inputs are kept for them. Costs, weights and sums are at least float32.

    Args:
        query: `(B, T, H, W, C)`.
        key: `(B, T', H', W', C)`.
        value: `(B, T', H', W', Cv)`.
        index: `(B, T, H, W, K)` int32, positions `(t * H' + y) * W' + x` in the key volume, -1 or outside
            of it = none.
        patch: odd `(p_t, p_y, p_x)`; an int p is `(1, p, p)`. Volumes are continued by their border values.
        similarity: "l2", "dot" or "cosine".
        temperature: positive, a number, or a tensor of one number or of one per clip `(B,)`.

    Returns:
        `(B, T, H, W, Cv)`, in the dtype of `value`.

    Raises:
        ValueError: for shapes that do not fit, an even patch size, an unknown similarity or a number <= 0.
    """
    return _checked(query, key, value, index, patch, (1, 1, 1), similarity, temperature)


def patch_aggregation(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    index: Tensor,
    *,
    patch: Patch = 7,
    similarity: Similarity = "l2",
    temperature: float | Tensor = 0.1,
) -> Tensor:
    """Attention of every query to what the neighbours of all queries in its patch propose (PSAL, Eq. 10).

    The query at an offset o of the patch proposes `index[i + o] - o`, at the cost that it has itself; the softmax is
    over all proposals, `p_t * p_y * p_x * K` at most: none comes from outside of the query volume or leads out of the
    key volume. With a single neighbour, too, query and key get gradients.

    The proposals pass offset by offset, so that memory does not grow with the patch. Arguments, result and errors are
    those of `patch_readout`.
    """
    return _checked(query, key, value, index, patch, patch_size(patch), similarity, temperature)


def _checked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    index: Tensor,
    patch: Patch,
    window: tuple[int, int, int],
    similarity: Similarity,
    temperature: float | Tensor,
) -> Tensor:
    size = patch_size(patch)
    check_volumes(query, key, similarity)
    if value.ndim != 5 or value.shape[:4] != key.shape[:4]:
        raise ValueError(
            f"value must be (B, T', H', W', Cv) at the key positions {tuple(key.shape[:4])}, got {tuple(value.shape)}"
        )
    if index.ndim != 5 or index.shape[:4] != query.shape[:4] or index.shape[4] < 1 or index.dtype != torch.int32:
        raise ValueError(
            f"index must be int32 (B, T, H, W, K) at the query positions {tuple(query.shape[:4])}, "
            f"got {index.dtype} {tuple(index.shape)}"
        )
    if not isinstance(temperature, Tensor):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        temperature = query.new_full((), temperature, dtype=working_dtype(query, key, value))
    if temperature.numel() not in (1, query.shape[0]) or temperature.ndim > 1:
        raise ValueError(f"temperature must be one number or ({len(query)},), got {tuple(temperature.shape)}")
    for name, volume in (("query", query), ("key", key)):
        batch, *sides = (side + extra - 1 for side, extra in zip(volume.shape[:4], (1, *size), strict=True))
        if batch * math.prod(sides) >= 2**31:
            raise ValueError(f"{name} {tuple(volume.shape)} has 2^31 positions or more: cut the batch")
    return _attend(query, key, value, index, temperature, list(size), list(window), similarity)


def _attend_plain(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    index: Tensor,
    temperature: Tensor,
    patch: list[int],
    window: list[int],
    similarity: str,
) -> Tensor:
    index = _known(index, key)
    dtype = working_dtype(query, key, value)
    scores = -_costs(query, key, index, patch, similarity, dtype) / _per_clip(temperature, dtype)
    candidates = WindowCandidates(scores, index, key.shape, window)
    del scores
    values = value.to(dtype).flatten(0, 3)
    out = values.new_zeros(math.prod(query.shape[:4]), value.shape[-1])
    total = values.new_zeros(len(out), 1)
    peak = candidates.peak()
    for offset in candidates.offsets:
        rows, weights = candidates.weights(offset, peak)
        out += weighted_sums(rows, values, weights)
        total += weights.sum(1, keepdim=True)
    # The best candidate weighs 1, so that less than 1 means none.
    return (out / total.clamp_(min=1)).to(value.dtype).view(*query.shape[:4], -1)


def _attend_backward_plain(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    index: Tensor,
    temperature: Tensor,
    patch: list[int],
    window: list[int],
    similarity: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and temperature."""
    index = _known(index, key)
    dtype = working_dtype(query, key, value)
    heat = _per_clip(temperature, dtype)
    cost = _costs(query, key, index, patch, similarity, dtype)
    candidates = WindowCandidates(-cost / heat, index, key.shape, window)
    bags = KeyBags(index, math.prod(key.shape[1:4]))
    d_scores, d_value = _softmax_backward(grad.to(dtype), value.to(dtype), candidates, bags)
    cost = cost.masked_fill_(index < 0, 0)
    d_heat = (d_scores * cost / heat.square()).flatten(1).sum(1).sum_to_size(temperature.shape)
    d_cost = -d_scores / heat
    del candidates, d_scores
    d_query, d_key = cost_gradients(query.to(dtype), key.to(dtype), index, cost, d_cost, bags, patch, similarity)
    return (
        d_query.to(query.dtype),
        d_key.to(key.dtype),
        d_value.to(value.dtype),
        d_heat.to(temperature.dtype),
    )


def _softmax_backward(
    grad: Tensor, value: Tensor, candidates: WindowCandidates, bags: KeyBags
) -> tuple[Tensor, Tensor]:
    """Gradients of the scores of the field `(B, T, H, W, K)` and of the values.

    With weights a and the gradient g of the output o, that of a score is `a (g.v - g.o)`.
    """
    values, grads = value.flatten(0, 3), grad.flatten(0, 3)
    peak = candidates.peak()
    total, along = (grads.new_zeros(len(grads), 1) for _ in range(2))  # along: g.o
    for offset in candidates.offsets:
        rows, weights = candidates.weights(offset, peak)
        total += weights.sum(1, keepdim=True)
        along += (weights * dots(rows, values, grads)).sum(1, keepdim=True)
    along /= total.clamp_(min=1)
    d_scores = candidates.new_field()
    d_value = candidates.new_values(value)
    for offset in candidates.offsets:
        rows, weights = candidates.weights(offset, peak)
        weights /= total
        candidates.add_to_field(d_scores, offset, weights * (dots(rows, values, grads) - along))
        candidates.add_to_values(d_value, offset, weights, grad, bags)
    return candidates.crop(d_scores), candidates.crop(d_value)


def _known(index: Tensor, key: Tensor) -> Tensor:
    """The index, -1 where it lies outside of the key volume."""
    return index.where((index >= 0) & (index < math.prod(key.shape[1:4])), -1)


def _costs(query: Tensor, key: Tensor, index: Tensor, patch: list[int], similarity: str, dtype: torch.dtype) -> Tensor:
    size = (patch[0], patch[1], patch[2])
    return patch_costs(query, key, index, patch=size, similarity=similarity).to(dtype)  # type: ignore[arg-type]


def _per_clip(temperature: Tensor, dtype: torch.dtype) -> Tensor:
    return temperature.to(dtype).view(-1, 1, 1, 1, 1)


_attend = torch.library.custom_op("lightvid::patch_attention", _attend_plain, mutates_args=())
_attend_backward = torch.library.custom_op(
    "lightvid::patch_attention_backward", _attend_backward_plain, mutates_args=()
)
_attend_backward.register_fake(_attend_backward_plain)


@_attend.register_fake
def _fake(query: Tensor, key: Tensor, value: Tensor, *options: Any) -> Tensor:
    if torch.compiler.is_exporting():  # the loops would fix the clip's length in the program
        return value.new_empty(*query.shape[:4], value.shape[-1])
    return _attend_plain(query, key, value, *options)  # for its memory


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = inputs[5:]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    d_query, d_key, d_value, d_temperature = _attend_backward(grad, *ctx.saved_tensors, *ctx.options)
    return d_query, d_key, d_value, None, d_temperature, None, None, None


_attend.register_autograd(_differentiate, setup_context=_keep_inputs)


@register_flop_formula(torch.ops.lightvid.patch_attention)
def _flops(
    query: tuple[int, ...],
    key: tuple[int, ...],
    value: tuple[int, ...],
    index: tuple[int, ...],
    temperature: tuple[int, ...],
    patch: list[int],
    window: list[int],
    *rest: object,
    **_: object,
) -> int:
    return 2 * math.prod(index) * (math.prod(patch) * query[-1] + math.prod(window) * value[-1])


@register_flop_formula(torch.ops.lightvid.patch_attention_backward)
def _flops_backward(grad: tuple[int, ...], *shapes: Any, **_: object) -> int:
    query, _key, value, index, _temperature, patch, window = shapes[:7]
    # The costs once more, and gradients to query and key; of each candidate twice g.v, and a gradient to the values.
    return 6 * math.prod(index) * (math.prod(patch) * query[-1] + math.prod(window) * value[-1])
