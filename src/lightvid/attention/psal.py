"""Patch-based stochastic attention in videos."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightvid.errors import ConfigurationError
from lightvid.ops.patch_attention import patch_aggregation, patch_readout
from lightvid.ops.patch_match import patch_match
from lightvid.ops.patches import Patch, Similarity, patch_size
from lightvid.ops.precision import cast_for_autocast

Queries = Literal["all", "holes"]
Keys = Literal["all", "visible"]


class PSAL(nn.Module):
    """Attention of every token to its nearest neighbours in the whole clip, found by PatchMatch.

    PSAL (Cherel et al., Pattern Recognition Letters 2024) searches, for the patch of features around a query, the most
    similar patches of keys, and attends to these alone: memory and cost are linear in the number of tokens. Here the
    keys are those of all frames, and each head searches in features of its own.

    A token without a neighbour (not a query, or there is no key for it) keeps its own value.

    The search is random. While training, its seed comes from PyTorch's global generator, so that a forward pass that is
    replayed with the random state of the first finds the same neighbours; in evaluation it is fixed.

    With `neighbours=1` and no aggregation the weights are constant: the layers of query and key, and the temperature,
    get zero gradients (paper, 3.4). Train with 3 neighbours, or with aggregation; afterwards `neighbours` may be set to
    another number, 1 being the fastest (paper, Table 8).

    Args:
        channels: width of the tokens, divisible by `heads`.
        heads: number of searches, each for its own part of the values.
        features: width of each head's query and key. The search costs `features` times the size of a patch.
        patch: odd size of the patches that are compared, in tokens; `(p_t, p_y, p_x)` for patches in space and time.
        neighbours: K, keys of each query and head.
        aggregate: attend also to what the neighbours of the tokens around propose (paper, Eq. 10).
        similarity: "l2", "dot" or "cosine".
        iterations: of the search; 3 do for 64x64 tokens, 5, as published, for several times as many.
        temperature: of the softmax over similarities, which are means over a patch's features.
        learn_temperature: let training change it, head by head.
        queries: which tokens search: "all", or those in "holes".
        keys: which patches are found: "all", or those that are "visible", without a token in a hole.
        other_frames_only: let no token find keys in its own frame, unless the clip is a single image.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 2,
        features: int = 8,
        patch: Patch = 3,
        neighbours: int = 3,
        aggregate: bool = False,
        similarity: Similarity = "l2",
        iterations: int = 5,
        temperature: float = 0.1,
        learn_temperature: bool = True,
        queries: Queries = "all",
        keys: Keys = "all",
        other_frames_only: bool = False,
    ) -> None:
        super().__init__()
        _check(heads, features, patch, neighbours, iterations, temperature)
        for name, value, choices in (
            ("similarity", similarity, get_args(Similarity)),
            ("queries", queries, get_args(Queries)),
            ("keys", keys, get_args(Keys)),
        ):
            if value not in choices:
                raise ConfigurationError(f"unknown {name} '{value}': choose one of {', '.join(choices)}")
        if channels % heads:
            raise ConfigurationError(f"{channels} channels do not split into {heads} equal heads: change one of them")
        self.heads = heads
        self.patch = patch_size(patch)
        self.neighbours = neighbours
        self.aggregate = aggregate
        self.similarity = similarity
        self.iterations = iterations
        self.queries = queries
        self.keys = keys
        self.other_frames_only = other_frames_only
        self.query = nn.Linear(channels, heads * features)
        self.key = nn.Linear(channels, heads * features)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.log_temperature = nn.Parameter(
            torch.full((heads,), math.log(temperature)), requires_grad=learn_temperature
        )

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`, any T (1 for images), H and W.
            holes: `(B, T, H, W)`, a token is in a hole unless it is 0; used by `queries="holes"` and `keys="visible"`,
                which mean "all" without it.

        Returns:
            `(B, T, H, W, C)`.
        """
        x = cast_for_autocast(x)
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        index = self.search(query, key, holes)
        attend = patch_aggregation if self.aggregate else patch_readout
        temperature = self.log_temperature.exp().repeat(x.shape[0])
        mixed = attend(query, key, value, index, patch=self.patch, similarity=self.similarity, temperature=temperature)
        mixed = mixed.where((index >= 0).any(-1, keepdim=True), value)
        return self.output(mixed.unflatten(0, (-1, self.heads)).permute(0, 2, 3, 4, 1, 5).flatten(4))

    @torch.no_grad()
    def search(self, query: Tensor, key: Tensor, holes: Tensor | None) -> Tensor:
        """The neighbours of every query, `(B * heads, T, H, W, K)` int32, -1 = none.

        Args:
            query: `(B * heads, T, H, W, F)`.
            key: `(B * heads, T, H, W, F)`.
            holes: `(B, T, H, W)`.
        """
        wanted = valid = None
        if holes is not None:
            covered = (holes > 0).repeat_interleave(self.heads, dim=0)
            wanted = covered if self.queries == "holes" else None
            valid = ~covered if self.keys == "visible" else None
        frames = _other_frames(query) if self.other_frames_only and query.shape[1] > 1 else None
        return patch_match(
            query,
            key,
            patch=self.patch,
            neighbours=self.neighbours,
            iterations=self.iterations,
            similarity=self.similarity,
            seed=int(torch.randint(2**62, (), device="cpu")) if self.training else 0,
            key_valid=valid,
            query_mask=wanted,
            key_frames=frames,
        ).index

    def _split(self, x: Tensor) -> Tensor:
        """One volume per head: `(B, T, H, W, heads * c)` to `(B * heads, T, H, W, c)`."""
        return x.unflatten(-1, (self.heads, -1)).permute(0, 4, 1, 2, 3, 5).flatten(0, 1)


def _check(heads: int, features: int, patch: Patch, neighbours: int, iterations: int, temperature: float) -> None:
    if min(heads, features, neighbours) < 1 or iterations < 0:
        raise ConfigurationError(
            "PSAL needs at least 1 head, feature and neighbour, and no negative number of iterations, "
            f"got {heads}, {features}, {neighbours} and {iterations}"
        )
    if not temperature > 0:
        raise ConfigurationError(f"temperature must be positive, got {temperature}")
    try:
        patch_size(patch)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _other_frames(x: Tensor) -> Tensor:
    """For each frame of `(B, T, ...)` all others, `(T, T - 1)`."""
    frames = x.shape[1]
    step = torch.arange(1, frames, device=x.device)
    return (torch.arange(frames, device=x.device).unsqueeze(1) + step) % frames
