"""What the queries around a query propose to it, offset by offset; and sums over those who have found a key."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Offset = tuple[int, int, int]


class WindowCandidates:
    """The candidates of PSAL's aggregation (Cherel et al., Eq. 10), one offset of the window at a time.

    At offset o query i gets from query i + o its neighbours, moved back by o, with the scores that i + o has. A window
    of one position gives the field itself.

    Args:
        scores: `(B, T, H, W, K)`, of the field.
        index: `(B, T, H, W, K)` int32, the field; -1 = none.
        keys: shape `(B, T', H', W', ...)` of the key volumes.
        window: `(w_t, w_y, w_x)`, odd.
    """

    def __init__(self, scores: Tensor, index: Tensor, keys: Sequence[int], window: Sequence[int]) -> None:
        self.shape = tuple(index.shape)
        self.keys = tuple(keys[1:4])
        self.radius = [side // 2 for side in window]
        self.offsets: list[Offset] = list(itertools.product(*(range(-r, r + 1) for r in self.radius)))  # type: ignore[arg-type]
        self.scores = _surround(scores.masked_fill(index < 0, -math.inf), self.radius, -math.inf)
        batch = torch.arange(self.shape[0], dtype=torch.int32, device=index.device).view(-1, 1, 1, 1, 1)
        self.rows = _surround(index + batch * math.prod(self.keys), self.radius, 0)
        self.positions = _axes(_surround(index, self.radius, 0), self.keys)

    def weights(self, offset: Offset, peak: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of the flat key volumes `(B * T * H * W, K)` and `exp(score - peak)`, 0 where there is no candidate."""
        inside = self._inside(offset)
        shift = (offset[0] * self.keys[1] + offset[1]) * self.keys[2] + offset[2]
        rows = (self._part(self.rows, offset) - shift).where(inside, 0)
        weights = (self._part(self.scores, offset) - peak).exp_().where(inside, 0)
        return rows.flatten(0, 3), weights.flatten(0, 3)

    def peak(self) -> Tensor:
        """The best score of every query `(B, T, H, W, 1)`, 0 where there is no candidate."""
        peak = self.scores.new_full((*self.shape[:4], 1), -math.inf)
        for offset in self.offsets:
            scores = self._part(self.scores, offset).where(self._inside(offset), -math.inf)
            peak = torch.maximum(peak, scores.amax(4, keepdim=True))
        return peak.masked_fill_(peak == -math.inf, 0)

    def new_field(self) -> Tensor:
        """Zeros to add to with `add_to_field`: the field and what surrounds it."""
        return torch.zeros_like(self.scores)

    def add_to_field(self, field: Tensor, offset: Offset, x: Tensor) -> None:
        """Add what belongs to the candidates `(B * T * H * W, K)` of an offset to the entries that proposed them."""
        self._part(field, offset).add_(x.view(self.shape))

    def new_values(self, value: Tensor) -> Tensor:
        """Zeros to add to with `add_to_values`: values `(B, T', H', W', Cv)` and what surrounds them."""
        return _surround(torch.zeros_like(value), self.radius, 0)

    def add_to_values(self, values: Tensor, offset: Offset, weights: Tensor, grad: Tensor, bags: KeyBags) -> None:
        """Add the gradient of the values by the candidates of an offset.

        A key of the field that is the neighbour of query i is moved to i - o, and so are all its queries: the sums are
        over the queries of one key, and go to the key moved by -o.
        """
        by_entry = self.new_field()
        self.add_to_field(by_entry, offset, weights)
        back = (-offset[0], -offset[1], -offset[2])
        moved = self._part(_surround(grad, self.radius, 0), back)
        sums = bags.sums(self.crop(by_entry), moved.flatten(0, 3))
        part = _part(values, self.radius, back, self.keys)
        part += sums.view(part.shape)

    def crop(self, x: Tensor) -> Tensor:
        """The inside of `new_field` or `new_values`."""
        size = [side - 2 * radius for side, radius in zip(x.shape[1:4], self.radius, strict=True)]
        return _part(x, self.radius, (0, 0, 0), size)

    def _part(self, x: Tensor, offset: Offset) -> Tensor:
        return _part(x, self.radius, offset, self.shape[1:4])

    def _inside(self, offset: Offset) -> Tensor:
        """Where an offset proposes a key that exists, `(B, T, H, W, K)`."""
        inside = self._part(self.scores, offset) > -math.inf
        for position, step, side in zip(self.positions, offset, self.keys, strict=True):
            if step:
                moved = self._part(position, offset) - step
                inside &= (moved >= 0) & (moved < side)
        return inside


class KeyBags:
    """A field the other way round: for every key, the queries that have it among their neighbours.

    The sums over them need no atomic addition, and their order is always the same.

    Args:
        index: `(B, T, H, W, K)` int32, -1 = none.
        keys: number of positions in a key volume.
    """

    def __init__(self, index: Tensor, keys: int) -> None:
        batch, neighbours = len(index), index.shape[4]
        first = torch.arange(batch, device=index.device).view(-1, 1) * keys
        entry = torch.arange(index.numel(), device=index.device).view(batch, -1)
        # Entries without a key have no weight; spread over all keys, they do not fill the bag of one.
        rows = index.flatten(1).where(index.flatten(1) >= 0, entry % keys) + first
        key_of_entry, self.order = rows.flatten().sort(stable=True)
        self.queries = self.order.div(neighbours, rounding_mode="floor")
        self.starts = torch.searchsorted(key_of_entry, torch.arange(batch * keys, device=index.device))

    def sums(self, weights: Tensor, source: Tensor, rows: Tensor | None = None) -> Tensor:
        """`out[j] = sum of weights[i, k] * source[rows[i]]` over all entries `(i, k)` whose key is j.

        Args:
            weights: `(B * T * H * W, K)`, 0 where there is no neighbour.
            source: `(R, C)`.
            rows: `(B * T * H * W,)`; by default `rows[i] = i`.

        Returns:
            `(B * keys, C)`.
        """
        taken = self.queries if rows is None else rows[self.queries]
        ordered = weights.flatten()[self.order]
        return F.embedding_bag(taken, source, self.starts, mode="sum", per_sample_weights=ordered)


def _surround(x: Tensor, radius: Sequence[int], value: float) -> Tensor:
    """Continue `(B, T, H, W, K)` on all sides by a value."""
    t, y, x_ = radius
    return F.pad(x, (0, 0, x_, x_, y, y, t, t), value=value)


def _part(x: Tensor, radius: Sequence[int], offset: Offset, size: Sequence[int]) -> Tensor:
    """What lies an offset away from every position, a view of what `_surround` gave."""
    for dim in range(3):
        x = x.narrow(dim + 1, radius[dim] + offset[dim], size[dim])
    return x


def _axes(index: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, row and column of positions in a volume `(T, H, W)`."""
    row = index // size[2]
    return row // size[1], row % size[1], index % size[2]
