"""PatchMatch in images and videos: approximate nearest neighbours of all patches in linear memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lightvid.ops.kernels import triton_is_usable
from lightvid.ops.patch_candidates import candidates_per_neighbour
from lightvid.ops.patch_search import PatchField, PatchSearch
from lightvid.ops.patches import Patch, Similarity, check_volumes, patch_size


def patch_match(
    query: Tensor,
    key: Tensor,
    *,
    patch: Patch = 7,
    neighbours: int = 3,
    iterations: int = 5,
    similarity: Similarity = "l2",
    seed: int = 0,
    key_valid: Tensor | None = None,
    query_mask: Tensor | None = None,
    key_frames: Tensor | None = None,
    start: Tensor | None = None,
    exclude: int = 0,
) -> PatchField:
    """Search the most similar key patches of every query patch.

    PatchMatch (Barnes et al., SIGGRAPH 2009) with propagation by jump flooding (PSAL, Cherel et al., Algorithm 1), in
    volumes: all neighbours are propagated, also between frames, and every iteration reads the field that the one
    before has left. The field is a function of the arguments alone, the same on every device up to rounding.
    It has no gradient.

    Args:
        query: `(B, T, H, W, C)`; an image is a volume of one frame.
        key: `(B, T', H', W', C)`, of any size.
        patch: odd `(p_t, p_y, p_x)`; an int p is `(1, p, p)`. Volumes are continued by their border values.
        neighbours: K, how many keys are kept for a query.
        iterations: of propagation and random search; 0 is the random start.
        similarity: "l2", "dot" or "cosine".
        seed: of the random numbers; its lower 64 bits count.
        key_valid: `(B, T', H', W')` bool; a patch with an invalid pixel is no key.
        query_mask: `(B, T, H, W)` bool, where neighbours are wanted; elsewhere the index is -1.
        key_frames: `(T, F)` int, the key frames that each query frame may look at, -1 to fill up a row. Matches are
            then propagated between frames within the same key frame, for the key frames need not be consecutive.
        start: `(B, T, H, W, any K)` int32, the index of a field to begin with; what is not allowed here is dropped. See
            `lightvid.ops.patch_fields` for fields of another size or of the frame before.
        exclude: a match in the query's own frame is at least so many rows or columns away.

    Returns:
        The field; with fewer valid keys than neighbours it ends in -1.

    Raises:
        ValueError: for shapes that do not fit or numbers out of range.
    """
    size = patch_size(patch)
    check_volumes(query, key, similarity)
    _check_options(query, key, neighbours, iterations, exclude)
    _check_masks(query, key, key_valid, query_mask, key_frames, start)
    if not -(2**63) <= seed < 2**63:  # an operator takes no larger integers
        seed = (seed + 2**63) % 2**64 - 2**63
    options = (list(size), neighbours, similarity, seed, exclude, iterations)
    return PatchField(*_patch_match(query, key, key_valid, query_mask, key_frames, start, *options))


def _check_options(query: Tensor, key: Tensor, neighbours: int, iterations: int, exclude: int) -> None:
    if math.prod(key.shape[1:4]) >= 2**31 or math.prod(query.shape[1:4]) >= 2**31:
        raise ValueError("a volume must have fewer than 2^31 positions: search it in parts")
    for name, value, least in (("neighbours", neighbours, 1), ("iterations", iterations, 0), ("exclude", exclude, 0)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")


def _check_masks(
    query: Tensor,
    key: Tensor,
    key_valid: Tensor | None,
    query_mask: Tensor | None,
    key_frames: Tensor | None,
    start: Tensor | None,
) -> None:
    for name, mask, volume in (("key_valid", key_valid, key), ("query_mask", query_mask, query)):
        if mask is not None and (mask.shape != volume.shape[:4] or mask.dtype != torch.bool):
            raise ValueError(f"{name} must be bool {tuple(volume.shape[:4])}, got {mask.dtype} {tuple(mask.shape)}")
    if key_frames is not None and (
        key_frames.ndim != 2
        or len(key_frames) != query.shape[1]
        or key_frames.numel() == 0
        or key_frames.is_floating_point()
    ):
        raise ValueError(
            f"key_frames must be int (T, F) with T = {query.shape[1]}, got {key_frames.dtype} {tuple(key_frames.shape)}"
        )
    if start is not None and (start.ndim != 5 or start.shape[:4] != query.shape[:4] or start.is_floating_point()):
        raise ValueError(f"start must be int (B, T, H, W, K) at {tuple(query.shape[:4])}, got {tuple(start.shape)}")


@torch.library.custom_op("lightvid::patch_match", mutates_args=())
def _patch_match(
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
    iterations: int,
) -> tuple[Tensor, Tensor]:
    search = PatchSearch(
        query, key, key_valid, query_mask, key_frames, start, patch, neighbours, similarity, seed, exclude
    )
    return search.run(iterations, search.wanted())


@_patch_match.register_fake
def _fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    if torch.compiler.is_exporting():  # the search would fix the clip's length in the program
        query, neighbours = arguments[0], arguments[7]
        shape = (*query.shape[:4], neighbours)
        return query.new_empty(shape, dtype=torch.int32), query.new_empty(shape, dtype=torch.float32)
    # One iteration needs the memory of many.
    return _search_everywhere(*arguments[:-1], min(arguments[-1], 1))


@_patch_match.register_kernel("cuda")
def _cuda(*arguments: Any) -> tuple[Tensor, Tensor]:
    query, key, neighbours = arguments[0], arguments[1], arguments[7]
    if not triton_is_usable(query) or torch.float64 in (query.dtype, key.dtype):
        return _search_everywhere(*arguments)
    from lightvid.ops.kernels.patch_match import MOST_NEIGHBOURS, run

    if neighbours > MOST_NEIGHBOURS:
        return _search_everywhere(*arguments)
    return run(PatchSearch(*arguments[:-1]), arguments[-1])


def _search_everywhere(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The plain search without a look at the data."""
    search = PatchSearch(*arguments[:-1])
    return search.run(arguments[-1], search.everything())


def _mark_constant(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]
) -> None:
    ctx.mark_non_differentiable(*output)


def _no_gradients(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor | None) -> tuple[None, ...]:
    return (None,) * 12


_patch_match.register_autograd(_no_gradients, setup_context=_mark_constant)


@register_flop_formula(torch.ops.lightvid.patch_match)
def _flops(query: tuple[int, ...], key: tuple[int, ...], *options: Any, **_: object) -> int:
    start, patch, neighbours, iterations = options[3], options[4], options[5], options[-1]
    jumps, windows = candidates_per_neighbour(query, key)
    candidates = (0 if start is None else start[-1]) + neighbours * (1 + iterations * (jumps + windows))
    return 2 * math.prod(query) * math.prod(patch) * candidates
