"""The search of PatchMatch in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightvid.ops.patch_candidates import PatchCandidates
from lightvid.ops.patches import QUERIES_AT_ONCE, PatchScorer, patch_size


class PatchField(NamedTuple):
    """The neighbours of every query, best first.

    `index` `(B, T, H, W, K)` int32: positions `(t * H' + y) * W' + x` in the key volume, -1 = none, none twice.
    `cost` `(B, T, H, W, K)`: see `lightvid.ops.patches.patch_costs`; inf where there is none.
    """

    index: Tensor  # type: ignore[assignment]  # not tuple.index
    cost: Tensor


_Proposal = Callable[[Tensor, PatchField], Tensor]


class PatchSearch:
    """The search in plain PyTorch, tile by tile of the queries; arguments as `patch_match`."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        key_valid: Tensor | None,
        query_mask: Tensor | None,
        key_frames: Tensor | None,
        start: Tensor | None,
        patch: list[int],
        neighbours: int,
        similarity: str,
        seed: int,
        exclude: int,
    ) -> None:
        size = patch_size((patch[0], patch[1], patch[2]))
        self.scorer = PatchScorer(query, key, size, similarity)
        self.candidates = PatchCandidates(
            query.shape, key.shape, size, neighbours, seed, key_valid, key_frames, exclude, query.device
        )
        self.shape = (*query.shape[:4], neighbours)
        self.mask = None if query_mask is None else query_mask.flatten()
        self.start = None if start is None else start.flatten(0, 3)

    def everything(self) -> Tensor:
        """All queries, also those that are not wanted: the work does not depend on the data."""
        return torch.arange(math.prod(self.shape[:4]), device=self.scorer.queries.padded.device)

    def wanted(self) -> Tensor:
        """The queries whose neighbours are wanted."""
        return self.everything() if self.mask is None else self.mask.nonzero().squeeze(1)

    def run(self, iterations: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Index and cost after so many iterations."""
        field, spare = self.nothing(), self.nothing()
        self._pass(queries, field, field, [self._initial] if self.start is None else [self._started, self._initial])
        for iteration in range(iterations):
            # From one buffer into the other: no query sees what another has found in the same iteration.
            self._pass(queries, field, spare, [self._propagated(field.index), self._random(iteration)])
            field, spare = spare, field
        return field.index.view(self.shape), field.cost.view(self.shape)

    def nothing(self) -> PatchField:
        """A field without a match, `(B * T * H * W, K)` each."""
        shape, like = (math.prod(self.shape[:4]), self.shape[4]), self.scorer.queries.padded
        return PatchField(like.new_full(shape, -1, dtype=torch.int32), like.new_full(shape, math.inf))

    def _pass(self, queries: Tensor, old: PatchField, new: PatchField, proposals: list[_Proposal]) -> None:
        for tile in queries.split(QUERIES_AT_ONCE):
            best = PatchField(old.index[tile], old.cost[tile])
            for propose in proposals:
                found = propose(tile, best)
                if self.mask is not None:
                    found = found.masked_fill(~self.mask[tile].unsqueeze(1), -1)
                best = _merge(best, PatchField(found, self.scorer.costs(tile, found)))
            new.index[tile], new.cost[tile] = best

    def _started(self, tile: Tensor, best: PatchField) -> Tensor:
        assert self.start is not None
        return self.candidates.allowed(tile, self.start[tile])

    def _initial(self, tile: Tensor, best: PatchField) -> Tensor:
        return self.candidates.initial(tile)

    def _propagated(self, index: Tensor) -> _Proposal:
        return lambda tile, best: self.candidates.propagated(tile, index)

    def _random(self, iteration: int) -> _Proposal:
        return lambda tile, best: self.candidates.random(tile, best.index, iteration)


def _merge(best: PatchField, found: PatchField) -> PatchField:
    """The K best of a list and what was found, none twice; of equal costs the first stays first."""
    index, cost = torch.cat([best.index, found.index], dim=1), torch.cat([best.cost, found.cost], dim=1)
    chosen = []
    for _ in range(best.index.shape[1]):
        lowest, place = cost.min(dim=1, keepdim=True)
        position = index.gather(1, place).masked_fill(lowest == math.inf, -1)
        cost = cost.masked_fill(index == position, math.inf)
        chosen.append((position, lowest))
    return PatchField(*(torch.cat(parts, dim=1) for parts in zip(*chosen, strict=True)))
