"""Costs between patches of two volumes, without ever unfolding a volume.

In channels-last memory the pixels of one patch row lie in one run. A view of all these runs, which overlap, holds every
patch of the volume and takes no memory of its own; only the patches at hand are gathered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Patch = int | tuple[int, int, int]
Similarity = Literal["l2", "dot", "cosine"]

# The least norm that a patch counts with in a cosine, as in torch.nn.functional.cosine_similarity.
COSINE_EPS = 1e-8

# Queries, and elements of gathered patches, that are at hand at once: few enough to stay in the cache.
QUERIES_AT_ONCE = 2**12
ELEMENTS_AT_ONCE = 2**19


def patch_costs(query: Tensor, key: Tensor, index: Tensor, *, patch: Patch, similarity: Similarity = "l2") -> Tensor:
    """Cost of given pairs of patches, lower is better, one per entry of the index. It has no gradient.

    With q and k the entries of a query's and of a key's patch, a cost is the mean of `(q - k)^2` (l2), minus the mean
    of `q * k` (dot), or `-q.k / (max(|q|, eps) max(|k|, eps))` with eps = 1e-8 (cosine): it does not scale with the
    patch size and the width. Volumes are continued by their border values, so that every position has a whole patch.

    Args:
        query: `(B, T, H, W, C)`.
        key: `(B, T', H', W', C)`.
        index: `(B, T, H, W, K)` int32, positions `(t * H' + y) * W' + x` in the key volume; what is not one of them,
            such as -1, is no key.
        patch: odd `(p_t, p_y, p_x)`; an int p is `(1, p, p)`.
        similarity: how patches are compared.

    Returns:
        `(B, T, H, W, K)`, float32 (float64 for float64 features), inf where the index is no key.

    Raises:
        ValueError: for shapes that do not fit, a patch size that is not odd or an unknown similarity.
    """
    size = patch_size(patch)
    check_volumes(query, key, similarity)
    if index.ndim != 5 or index.shape[:4] != query.shape[:4]:
        raise ValueError(
            f"index must be (B, T, H, W, K) at the query positions {tuple(query.shape[:4])}, got {tuple(index.shape)}"
        )
    with torch.no_grad():
        scorer = PatchScorer(query, key, size, similarity)
        keys = math.prod(key.shape[1:4])
        queries = torch.arange(math.prod(index.shape[:4]), device=index.device)
        parts = zip(queries.split(QUERIES_AT_ONCE), index.flatten(0, 3).split(QUERIES_AT_ONCE), strict=True)
        costs = [scorer.costs(tile, found.masked_fill(found >= keys, -1)) for tile, found in parts]
        return torch.cat(costs).view(index.shape)


def patch_size(patch: Patch) -> tuple[int, int, int]:
    """`(p_t, p_y, p_x)` of a patch; an int p is `(1, p, p)`. A ValueError for sizes that are not odd."""
    size = (1, patch, patch) if isinstance(patch, int) else tuple(patch) if isinstance(patch, Sequence) else ()
    if len(size) != 3 or not all(isinstance(side, int) and side > 0 and side % 2 for side in size):
        raise ValueError(f"a patch has odd sizes (p_t, p_y, p_x) or one odd size p, got {patch}")
    return size


def check_volumes(query: Tensor, key: Tensor, similarity: str) -> None:
    """A ValueError unless query and key are volumes `(B, T, H, W, C)` of one batch size and width."""
    for name, volume in (("query", query), ("key", key)):
        if volume.ndim != 5 or 0 in volume.shape:
            raise ValueError(f"{name} must be (B, T, H, W, C) without an empty side, got {tuple(volume.shape)}")
    if query.shape[0] != key.shape[0] or query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query and key must agree in batch and channels, got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    if similarity not in get_args(Similarity):
        raise ValueError(f"similarity must be one of {', '.join(get_args(Similarity))}, got {similarity}")


class PatchVolume:
    """Every patch of a batch of volumes, as overlapping rows of one padded copy.

    Args:
        features: `(B, T, H, W, C)`.
        size: `(p_t, p_y, p_x)`, odd.

    Attributes:
        shape: `(B, T, H, W, C)` of the features.
        padded: `(B, T + p_t - 1, H + p_y - 1, W + p_x - 1, C)`, continued by the border values.
        rows: `(R, p_x * C)` view of it: row r is the run of `p_x` pixels that starts at the padded pixel r.
        offsets: `(p_t * p_y,)` int64, from the first row of a patch to each of its rows.
    """

    def __init__(self, features: Tensor, size: tuple[int, int, int]) -> None:
        self.shape = tuple(features.shape)
        self.size = size
        self.padded = pad_volume(features, size)
        _, frames, height, width, channels = self.padded.shape
        pixels = self.padded.numel() // channels
        self.rows = self.padded.as_strided((pixels - size[2] + 1, size[2] * channels), (channels, 1))
        t = torch.arange(size[0], device=features.device)
        y = torch.arange(size[1], device=features.device)
        self.offsets = ((t * height)[:, None] + y).flatten() * width
        self._frame = (frames, height, width)

    @property
    def elements(self) -> int:
        """Numbers in one patch."""
        return math.prod(self.size) * self.shape[-1]

    def first_rows(self, batch: int | Tensor, index: Tensor) -> Tensor:
        """First row of each position's patch: also the padded pixel of its first corner. -1 counts as position 0.

        Args:
            batch: the element of the batch, or a tensor of them that broadcasts with the index.
            index: positions `(t * H + y) * W + x`, any shape.

        Returns:
            int64, shape of the index.
        """
        _, _, height, width, _ = self.shape
        frames, padded_height, padded_width = self._frame
        position = index.long().clamp(min=0)
        x = position % width
        row = position // width
        y, t = row % height, row // height
        return ((batch * frames + t) * padded_height + y) * padded_width + x

    def gather(self, first_rows: Tensor) -> Tensor:
        """The patches that start at the given rows: `(...)` to `(..., p_t * p_y * p_x * C)`."""
        rows = first_rows.unsqueeze(-1) + self.offsets
        return self.rows.index_select(0, rows.flatten()).view(*first_rows.shape, self.elements)

    def squared_norms(self) -> Tensor:
        """Sum of squares of every patch by box sums, `(B, T, H, W)`."""
        sums = self.padded.square().sum(-1)
        for dim, side in enumerate(self.size, start=1):
            length = sums.shape[dim] - side + 1
            parts = [sums.narrow(dim, offset, length) for offset in range(side)]
            sums = torch.stack(parts).sum(0) if side > 1 else sums
        return sums


class PatchScorer:
    """Costs between the patches of two volumes, see `patch_costs`.

    A query is named by its place in the whole batch, `b * T * H * W + position`.
    """

    def __init__(self, query: Tensor, key: Tensor, size: tuple[int, int, int], similarity: str) -> None:
        dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), torch.float32)
        self.queries = PatchVolume(query.to(dtype), size)
        self.keys = PatchVolume(key.to(dtype), size)
        self.similarity = similarity
        self.inverse_norms = None
        if similarity == "cosine":
            self.inverse_norms = [
                inverse_norms(volume.squared_norms().flatten()) for volume in (self.queries, self.keys)
            ]

    def costs(self, queries: Tensor, index: Tensor) -> Tensor:
        """Costs `(n, J)` of the queries `(n,)` with the keys at `index` `(n, J)`, inf where that is -1."""
        positions = math.prod(self.queries.shape[1:4])
        batch = queries // positions
        query_rows = self.queries.first_rows(batch, queries % positions)
        key_rows = self.keys.first_rows(batch.unsqueeze(1), index)
        tile = max(1, ELEMENTS_AT_ONCE // (self.keys.elements * (index.shape[1] + 1)))
        parts = zip(query_rows.split(tile), key_rows.split(tile), strict=True)
        cost = torch.cat([self._sums(*part) for part in parts])
        if self.inverse_norms is None:
            cost /= self.keys.elements
        else:
            query_inverse_norms, key_inverse_norms = self.inverse_norms
            keys = batch.unsqueeze(1) * math.prod(self.keys.shape[1:4]) + index.clamp(min=0)
            # One after the other: the product of two norms leaves float32 long before either does.
            cost *= query_inverse_norms[queries].unsqueeze(1)
            cost *= key_inverse_norms[keys]
        return cost.masked_fill_(index < 0, math.inf)

    def _sums(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        queries, keys = self.queries.gather(query_rows).unsqueeze(1), self.keys.gather(key_rows)
        if self.similarity == "l2":
            # The difference itself: the expansion into norms and a product cancels where patches are nearly equal.
            return keys.sub_(queries).square_().sum(-1)
        return keys.mul_(queries).sum(-1).neg_()


def inverse_norms(squared_norms: Tensor) -> Tensor:
    """`1 / max(norm, COSINE_EPS)`, which is finite for an empty patch."""
    return squared_norms.clamp(min=COSINE_EPS**2).rsqrt()


def pad_volume(x: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Continue `(B, T, H, W, C)` by its border values to one whole patch at every position, contiguous.

    Returns:
        `(B, T + p_t - 1, H + p_y - 1, W + p_x - 1, C)`.
    """
    t, y, x_ = (
        torch.arange(-(side // 2), length + side // 2, device=x.device).clamp(0, length - 1)
        for side, length in zip(size, x.shape[1:4], strict=True)
    )
    return x[:, t[:, None, None], y[:, None], x_]


def fold_border(padded: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The adjoint of `pad_volume`: what fell on continued positions goes to the border that they repeat.

    Args:
        padded: `(B, T + p_t - 1, H + p_y - 1, W + p_x - 1, C)`.
        size: `(p_t, p_y, p_x)`.

    Returns:
        `(B, T, H, W, C)`.
    """
    for dim, side in enumerate(size, start=1):
        radius, length = side // 2, padded.shape[dim] - side + 1
        inside = padded.narrow(dim, radius, length)
        if radius:
            inside = inside.clone()
            inside.narrow(dim, 0, 1).add_(padded.narrow(dim, 0, radius).sum(dim, keepdim=True))
            inside.narrow(dim, length - 1, 1).add_(padded.narrow(dim, radius + length, radius).sum(dim, keepdim=True))
        padded = inside
    return padded
