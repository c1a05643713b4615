"""Triton kernel of `lightvid.ops.patch_match`: one launch per iteration, one program for a block of queries.

Candidates come in the order of the plain search and from the same random numbers. A list of neighbours lives in
registers, sorted; the field that is read and the one that is written are two buffers.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lightvid.ops.kernels.patch_draws import below, decode, draw_initial, draw_key, draw_near, inside
from lightvid.ops.patch_search import PatchField, PatchSearch

# Queries of one program where nothing is tuned: in the interpreter.
BLOCK = 128

# Inserting moves a list within registers, in work that grows with its square.
MOST_NEIGHBOURS = 16


def run(search: PatchSearch, iterations: int) -> tuple[Tensor, Tensor]:
    """Index and cost `(B, T, H, W, K)` after so many iterations, K at most `MOST_NEIGHBOURS`."""
    candidates, neighbours = search.candidates, search.shape[4]
    started = 0 if search.start is None else search.start.shape[1]
    field, spare = search.nothing(), search.nothing()
    _launch(search, spare, field, copied=started, offers=started + neighbours, first_draw=0, initial=True)
    copied = len(candidates.jumps) * neighbours
    offers = copied + candidates.windows * neighbours
    for iteration in range(iterations):
        first_draw = 1 + iteration * candidates.windows
        _launch(search, field, spare, copied=copied, offers=offers, first_draw=first_draw, initial=False)
        field, spare = spare, field
    return field.index.view(search.shape), field.cost.view(search.shape)


def _launch(
    search: PatchSearch, old: PatchField, new: PatchField, *, copied: int, offers: int, first_draw: int, initial: bool
) -> None:
    scorer, candidates, size = search.scorer, search.candidates, search.scorer.keys.size
    total, neighbours = new.index.shape
    run_length = size[2] * scorer.keys.shape[-1]
    with torch.cuda.device_of(new.index):
        _launcher(total, new.index.is_cuda)(
            *_tensors(search, none=new.index),
            *(*old, *new, candidates.seed, candidates.exclude, total, *candidates.queries, *candidates.keys),
            *(candidates.frames.shape[1], copied, offers, first_draw, size[0] * size[1]),
            *(int(candidates.valid is not None), int(candidates.rigid)),
            K=neighbours,
            K_BLOCK=triton.next_power_of_2(neighbours),
            C=scorer.keys.shape[-1],
            PT=size[0],
            PY=size[1],
            PX=size[2],
            COLUMNS=min(triton.next_power_of_2(run_length), 64),
            SIMILARITY=scorer.similarity,
            MASKED=search.mask is not None,
            VALIDITY=candidates.valid is not None,
            INITIAL=initial,
        )


def _tensors(search: PatchSearch, none: Tensor) -> list[Tensor]:
    """The first arguments of the kernel; `none` stands for what is not given, and is not read."""
    scorer, candidates = search.scorer, search.candidates
    ranks = candidates.ranks
    inverse_norms = [none, none] if scorer.inverse_norms is None else scorer.inverse_norms
    start = none if search.start is None else search.start.to(torch.int32).contiguous()
    mask = none if search.mask is None else search.mask.contiguous().view(torch.uint8)
    tables = [none, none, none, none]
    if candidates.valid is not None and ranks.order is not None:
        tables = [candidates.valid.contiguous().view(torch.uint8), ranks.order, ranks.starts, ranks.counts]
    frames = [candidates.frames.contiguous(), candidates.slots.contiguous()]
    return [scorer.queries.padded, scorer.keys.padded, *inverse_norms, start, mask, *tables, *frames]


def _launcher(queries: int, cuda: bool) -> Any:
    if cuda:
        return _tuned()[lambda chosen: (triton.cdiv(queries, chosen["BLOCK"]),)]
    return functools.partial(_search_kernel[(triton.cdiv(queries, BLOCK),)], BLOCK=BLOCK)


@functools.cache
def _tuned() -> Any:
    """Built at the first launch: decorating with several configurations needs a GPU."""
    chosen = ((16, 2), (16, 4), (32, 4), (64, 4), (64, 8))
    configs = [triton.Config({"BLOCK": block}, num_warps=warps) for block, warps in chosen]
    key = ["C", "PT", "PY", "PX", "K", "SIMILARITY", "MASKED", "VALIDITY", "INITIAL"]
    return triton.autotune(configs, key=key)(_search_kernel)


@triton.jit(do_not_specialize=["seed", "exclude", "copied", "offers", "first_draw", "runs", "validity", "rigid"])
def _search_kernel(
    query: tl.tensor,
    key: tl.tensor,
    query_inverse_norms: tl.tensor,
    key_inverse_norms: tl.tensor,
    start: tl.tensor,
    mask: tl.tensor,
    valid: tl.tensor,
    order: tl.tensor,
    starts: tl.tensor,
    counts: tl.tensor,
    frames: tl.tensor,
    slots: tl.tensor,
    old_index: tl.tensor,
    old_cost: tl.tensor,
    new_index: tl.tensor,
    new_cost: tl.tensor,
    seed: tl.tensor,
    exclude: tl.tensor,
    total: tl.tensor,
    T: tl.tensor,
    H: tl.tensor,
    W: tl.tensor,
    KT: tl.tensor,
    KH: tl.tensor,
    KW: tl.tensor,
    listed: tl.tensor,
    copied: tl.tensor,
    offers: tl.tensor,
    first_draw: tl.tensor,
    runs: tl.tensor,
    validity: tl.tensor,
    rigid: tl.tensor,
    K: tl.constexpr,
    K_BLOCK: tl.constexpr,
    C: tl.constexpr,
    PT: tl.constexpr,
    PY: tl.constexpr,
    PX: tl.constexpr,
    COLUMNS: tl.constexpr,
    SIMILARITY: tl.constexpr,
    MASKED: tl.constexpr,
    VALIDITY: tl.constexpr,
    INITIAL: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The start, or one iteration: every candidate is offered to the lists of a block of queries."""
    ids = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    within = ids < total
    ids = tl.where(within, ids, 0)
    wanted = within
    if MASKED:
        wanted = within & (tl.load(mask + ids) != 0)
    batch = ids // (T * H * W)
    position = (ids % (T * H * W)).to(tl.int32)
    t, y, x = position // (H * W), position // W % H, position % W
    row = ((batch * (T + PT - 1) + t) * (H + PY - 1) + y) * (W + PX - 1) + x
    own = (ids, wanted, batch, t, y, x, row)
    volumes = (query, key, query_inverse_norms, key_inverse_norms, H, W, KT, KH, KW, runs)
    limits = (valid, validity, slots, exclude)
    lists = (frames, slots, listed)
    ranks = (order, starts, counts, KT, KH, KW)
    lane = tl.arange(0, K_BLOCK)[None, :]
    cells = ids[:, None] * K + lane
    index = tl.full([BLOCK, K_BLOCK], -1, tl.int32)
    cost = tl.full([BLOCK, K_BLOCK], float("inf"), tl.float32)
    if not INITIAL:
        kept = wanted[:, None] & (lane < K)
        index = tl.load(old_index + cells, mask=kept, other=-1)
        cost = tl.load(old_cost + cells, mask=kept, other=float("inf"))
    centres = index
    for n in range(offers):
        draw, k = (n - copied) // K, (n - copied) % K
        if n < copied:
            if INITIAL:
                found = tl.load(start + ids * copied + n)
                kt, ky, kx = decode(found, KH, KW)
            else:
                dt, dy, dx = _jump(n // K)
                there = inside(t + dt, T) & inside(y + dy, H) & inside(x + dx, W)
                found = tl.load(old_index + (ids + (dt * H + dy) * W + dx) * K + n % K, mask=there, other=-1)
                kt, ky, kx = decode(found, KH, KW)
                kt, ky, kx = kt - dt * rigid, ky - dy, kx - dx
            given = found >= 0
        else:
            if n == copied:
                centres = index
            bits = tl.philox(seed, position, position * 0 + first_draw + draw, position * 0 + k, position * 0)
            if INITIAL:
                kt, ky, kx, given = draw_initial(batch, t, bits, k, K, lists, ranks, VALIDITY)
            elif draw == 0:
                frame = tl.load(frames + t * listed + below(bits[0], listed)).to(tl.int32)
                kt, ky, kx, given = draw_key(batch, frame, bits[1], 0, 1, ranks, VALIDITY)
            else:
                centre = tl.sum(tl.where(lane == k, centres, 0), axis=1)
                kt, ky, kx = draw_near(t, centre, bits, draw, lists, KT, KH, KW)
                given = centre >= 0
        index, cost = _offer(index, cost, kt, ky, kx, given, own, volumes, limits, C, PT, PY, PX, COLUMNS, SIMILARITY)
    stored = within[:, None] & (lane < K)
    tl.store(new_index + cells, index, mask=stored)
    tl.store(new_cost + cells, cost, mask=stored)


@triton.jit
def _offer(
    index: tl.tensor,
    cost: tl.tensor,
    kt: tl.tensor,
    ky: tl.tensor,
    kx: tl.tensor,
    given: tl.tensor,
    own: tl.tuple,
    volumes: tl.tuple,
    limits: tl.tuple,
    C: tl.constexpr,
    PT: tl.constexpr,
    PY: tl.constexpr,
    PX: tl.constexpr,
    COLUMNS: tl.constexpr,
    SIMILARITY: tl.constexpr,
) -> tl.tuple:
    """The lists with one more candidate each, if it is allowed, new and good enough."""
    ids, wanted, batch, t, y, x, row = own
    query, key, query_inverse_norms, key_inverse_norms, H, W, KT, KH, KW, runs = volumes
    valid, validity, slots, exclude = limits
    allowed = wanted & given & inside(kt, KT) & inside(ky, KH) & inside(kx, KW)
    allowed &= ~((kt == t) & (tl.abs(ky - y) < exclude) & (tl.abs(kx - x) < exclude))
    found = tl.where(allowed, (kt * KH + ky) * KW + kx, 0)
    key_ids = batch * (KT * KH * KW) + found
    allowed &= tl.load(valid + key_ids, mask=allowed & (validity != 0), other=1) != 0
    allowed &= tl.load(slots + t * KT + kt, mask=allowed, other=-1) >= 0
    key_row = ((batch * (KT + PT - 1) + kt) * (KH + PY - 1) + ky) * (KW + PX - 1) + kx
    total = tl.zeros(row.shape, tl.float32)
    column = tl.arange(0, COLUMNS)[None, :]
    for run_index in range(runs):
        frame, line = run_index // PY, run_index % PY
        query_run = query + (row + (frame * (H + PY - 1) + line) * (W + PX - 1)) * C
        key_run = key + (key_row + (frame * (KH + PY - 1) + line) * (KW + PX - 1)) * C
        for first in range(0, PX * C, COLUMNS):
            mask = allowed[:, None] & (first + column < PX * C)
            q = tl.load(query_run[:, None] + first + column, mask=mask, other=0.0).to(tl.float32)
            k = tl.load(key_run[:, None] + first + column, mask=mask, other=0.0).to(tl.float32)
            if SIMILARITY == "l2":
                total += tl.sum((q - k) * (q - k), axis=1)
            else:
                total -= tl.sum(q * k, axis=1)
    if SIMILARITY == "cosine":
        total *= tl.load(query_inverse_norms + ids)
        total *= tl.load(key_inverse_norms + key_ids, mask=allowed, other=0.0)
    else:
        total = tl.div_rn(total, tl.full(total.shape, PT * PY * PX * C, tl.float32))
    return _insert(index, cost, tl.where(allowed, found, -1), total)


@triton.jit
def _insert(index: tl.tensor, cost: tl.tensor, found: tl.tensor, found_cost: tl.tensor) -> tl.tuple:
    """Put one candidate into each sorted list, after equal costs; the last entry falls out. -1 changes nothing."""
    known = tl.max((index == found[:, None]).to(tl.int32), axis=1) > 0
    found_cost = tl.where(known | (found < 0), float("inf"), found_cost)
    place = tl.sum((cost <= found_cost[:, None]).to(tl.int32), axis=1)[:, None]
    lane = tl.arange(0, index.shape[1])
    before = lane[None, :, None] - 1 == lane[None, None, :]
    moved_index = tl.sum(tl.where(before, index[:, None, :], 0), axis=2)
    moved_cost = tl.sum(tl.where(before, cost[:, None, :], 0.0), axis=2)
    lane = lane[None, :]
    index = tl.where(lane < place, index, tl.where(lane == place, found[:, None], moved_index))
    cost = tl.where(lane < place, cost, tl.where(lane == place, found_cost[:, None], moved_cost))
    return index, cost


@triton.jit
def _jump(jump: tl.tensor) -> tl.tuple:
    """`(dt, dy, dx)`: up, down, left and right by 1, 2, 4 and 8, then back and forth in time by 1 and 2."""
    temporal, direction = jump // 16, jump % 4
    sign, second = direction % 2 * 2 - 1, direction // 2
    step = (1 << (jump // 4)) * sign * (1 - temporal)
    dt, dy, dx = temporal * sign * (1 + second), step * (1 - second), step * second
    return dt, dy, dx
