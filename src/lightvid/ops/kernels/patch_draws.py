"""Random keys of `lightvid.ops.kernels.patch_match`, as `lightvid.ops.patch_candidates` draws them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def draw_initial(
    batch: tl.tensor,
    t: tl.tensor,
    bits: tl.tuple,
    k: tl.tensor,
    K: tl.constexpr,
    lists: tl.tuple,
    ranks: tl.tuple,
    VALIDITY: tl.constexpr,
) -> tl.tuple:
    """One key per neighbour, spread over the frames, then over the keys of a frame."""
    frames, _slots, listed = lists
    stride = tl.maximum(listed // K, 1)
    place = (t + k * stride + below(bits[0], stride)) % listed
    frame = tl.load(frames + t * listed + place).to(tl.int32)
    return draw_key(batch, frame, bits[1], k // listed, tl.cdiv(K, listed), ranks, VALIDITY)


@triton.jit
def draw_key(
    batch: tl.tensor,
    frame: tl.tensor,
    bits: tl.tensor,
    stratum: tl.tensor,
    strata: tl.tensor,
    ranks: tl.tuple,
    VALIDITY: tl.constexpr,
) -> tl.tuple:
    """Frame, row and column of a valid key of a frame, and whether there is one."""
    order, starts, counts, KT, KH, KW = ranks
    given = frame >= 0
    frame = tl.maximum(frame, 0)
    count = tl.zeros(frame.shape, tl.int64) + KH * KW
    if VALIDITY:
        count = tl.load(counts + batch * KT + frame)
        given &= count > 0
    low, high = stratum * count // strata, (stratum + 1) * count // strata
    rank = low + below(bits, tl.maximum(high - low, 1))
    if VALIDITY:
        place = tl.minimum(tl.load(starts + batch * KT + frame) + rank, KT * KH * KW - 1)
        rank = tl.load(order + batch * (KT * KH * KW) + place).to(tl.int64) % (KH * KW)
    rank = rank.to(tl.int32)
    return frame, rank // KW, rank % KW, given


@triton.jit
def draw_near(
    t: tl.tensor,
    centre: tl.tensor,
    bits: tl.tuple,
    window: tl.tensor,
    lists: tl.tuple,
    KT: tl.tensor,
    KH: tl.tensor,
    KW: tl.tensor,
) -> tl.tuple:
    """Frame, row and column in a window around a key, cut at the borders."""
    frames, slots, listed = lists
    side = tl.maximum(KH, KW)
    kt, ky, kx = decode(centre, KH, KW)
    slot = tl.load(slots + t * KT + kt).to(tl.int32)
    slot = _draw_within(slot, listed >> window, listed, bits[0])
    kt = tl.load(frames + t * listed + slot).to(tl.int32)
    return kt, _draw_within(ky, side >> window, KH, bits[1]), _draw_within(kx, side >> window, KW, bits[2])


@triton.jit
def _draw_within(centre: tl.tensor, radius: tl.tensor, length: tl.tensor, bits: tl.tensor) -> tl.tensor:
    low, high = tl.maximum(centre - radius, 0), tl.minimum(centre + radius, length - 1)
    return low + below(bits, high - low + 1).to(tl.int32)


@triton.jit
def below(bits: tl.tensor, count: tl.tensor) -> tl.tensor:
    """Random bits mapped to `[0, count)`."""
    return (bits.to(tl.int64) * count) >> 32


@triton.jit
def decode(index: tl.tensor, KH: tl.tensor, KW: tl.tensor) -> tl.tuple:
    """Frame, row and column of a key; those of key 0 for -1."""
    position = tl.maximum(index, 0)
    return position // (KH * KW), position // KW % KH, position % KW


@triton.jit
def inside(x: tl.tensor, length: tl.tensor) -> tl.tensor:
    """Whether a coordinate lies in `[0, length)`."""
    return (x >= 0) & (x < length)
