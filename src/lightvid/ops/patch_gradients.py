"""Gradients of the costs between patches, without unfolded patches and without atomic additions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightvid.ops.bags import weighted_sums
from lightvid.ops.patch_aggregation import KeyBags
from lightvid.ops.patches import COSINE_EPS, PatchVolume, fold_border, inverse_norms


def cost_gradients(
    query: Tensor,
    key: Tensor,
    index: Tensor,
    cost: Tensor,
    d_cost: Tensor,
    bags: KeyBags,
    patch: list[int],
    similarity: str,
) -> tuple[Tensor, Tensor]:
    """Gradients of query and key from those of `lightvid.ops.patches.patch_costs`.

    For every similarity the gradient of a patch is a sum over its pairs of `a * (the other patch) + b * (itself)` with
    numbers a and b per pair. Pixel by pixel of the patch, the first part is a weighted sum of shifted volumes; the
    second is the volume times a sum of b over the patches that cover a pixel.

    Args:
        query: `(B, T, H, W, C)`, in the dtype to compute in, as are key and costs.
        key: `(B, T', H', W', C)`.
        index: `(B, T, H, W, K)` int32, -1 = none.
        cost: `(B, T, H, W, K)`, finite.
        d_cost: `(B, T, H, W, K)`, 0 where there is no neighbour.
        bags: the field the other way round.
        patch: `(p_t, p_y, p_x)`.
        similarity: of the costs.

    Returns:
        `(B, T, H, W, C)` and `(B, T', H', W', C)`.
    """
    size = (patch[0], patch[1], patch[2])
    queries, keys = PatchVolume(query, size), PatchVolume(key, size)
    pair, query_own, key_own = _pair_weights(queries, keys, index, cost, d_cost, similarity)
    d_query = queries.padded * _cover(query_own.sum(1).view(*query.shape[:4], 1), size)
    d_key = keys.padded * _cover(_sum_by_key(key_own, bags).view(*key.shape[:4], 1), size)
    query_pixels, key_pixels = queries.padded.flatten(0, 3), keys.padded.flatten(0, 3)
    query_rows, key_rows = _query_rows(queries), _key_rows(keys, index)
    for t, y, x in itertools.product(*map(range, size)):
        part = _part(d_query, (t, y, x), query.shape)
        part += weighted_sums(key_rows + _step(keys, t, y, x), key_pixels, pair).view(part.shape)
        part = _part(d_key, (t, y, x), key.shape)
        part += bags.sums(pair, query_pixels, query_rows + _step(queries, t, y, x)).view(part.shape)
    return fold_border(d_query, size), fold_border(d_key, size)


def _pair_weights(
    queries: PatchVolume, keys: PatchVolume, index: Tensor, cost: Tensor, d_cost: Tensor, similarity: str
) -> tuple[Tensor, Tensor, Tensor]:
    """`(B * T * H * W, K)` each: a, the same for query and key; b of the query; b of the key."""
    cost, d_cost = cost.flatten(0, 3), d_cost.flatten(0, 3)
    if similarity == "l2":
        own = d_cost * (2 / keys.elements)
        return -own, own, own
    if similarity == "dot":
        return d_cost / -keys.elements, torch.zeros_like(cost), torch.zeros_like(cost)
    query_squares = queries.squared_norms().view(-1, 1)
    key_squares = keys.squared_norms().flatten()[_volume_rows(index, keys)]
    pair, own = -d_cost * inverse_norms(query_squares) * inverse_norms(key_squares), -d_cost * cost
    # A norm that counts as a constant has no gradient.
    query_own, key_own = (
        (own / squares).masked_fill_(squares <= COSINE_EPS**2, 0) for squares in (query_squares, key_squares)
    )
    return pair, query_own, key_own


def _sum_by_key(x: Tensor, bags: KeyBags) -> Tensor:
    """Sums of the entries `(B * T * H * W, K)` of every key, `(B * keys, 1)`."""
    return bags.sums(x, x.new_ones(1, 1), torch.zeros(len(x), dtype=torch.int64, device=x.device))


def _cover(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Sums over the patches that cover a padded pixel: `(B, T, H, W, 1)` to that of the padded volume."""
    for dim, side in enumerate(size, start=1):
        shape = list(x.shape)
        shape[dim] += side - 1
        sums = x.new_zeros(shape)
        for offset in range(side):
            sums.narrow(dim, offset, x.shape[dim]).add_(x)
        x = sums
    return x


def _query_rows(queries: PatchVolume) -> Tensor:
    """The padded pixel at which each query's patch begins, `(B * T * H * W,)`."""
    positions = torch.arange(math.prod(queries.shape[1:4]), device=queries.padded.device)
    batch = torch.arange(queries.shape[0], device=queries.padded.device)
    return queries.first_rows(batch.unsqueeze(1), positions).flatten()


def _key_rows(keys: PatchVolume, index: Tensor) -> Tensor:
    """The padded pixel at which the patch of each neighbour begins, `(B * T * H * W, K)`."""
    batch = torch.arange(len(index), device=index.device)
    return keys.first_rows(batch.view(-1, 1, 1, 1, 1), index).flatten(0, 3)


def _volume_rows(index: Tensor, keys: PatchVolume) -> Tensor:
    """Rows of the flat key volumes, `(B * T * H * W, K)`; those of key 0 for -1."""
    batch = torch.arange(len(index), device=index.device).view(-1, 1, 1, 1, 1)
    return (index.clamp(min=0) + batch * math.prod(keys.shape[1:4])).flatten(0, 3)


def _step(volume: PatchVolume, t: int, y: int, x: int) -> int:
    """From the first pixel of a patch to another one of it, in padded pixels."""
    return (t * volume.padded.shape[2] + y) * volume.padded.shape[3] + x


def _part(padded: Tensor, corner: tuple[int, int, int], shape: Sequence[int]) -> Tensor:
    """The pixel at a place of the patch, of every patch: a view of a padded volume."""
    for dim in range(3):
        padded = padded.narrow(dim + 1, corner[dim], shape[dim + 1])
    return padded
