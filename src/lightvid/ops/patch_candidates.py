"""Where PatchMatch looks next: random starts, the matches of the surroundings, random searches around a match.

Every candidate is a function of (seed, query position, draw, neighbour), so a field depends neither on tiles, threads
and device nor on what else is in the batch. A candidate that is not allowed is -1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.ops.philox import below, philox

SPATIAL_JUMPS = (1, 2, 4, 8)
TEMPORAL_JUMPS = (1, 2)


def candidates_per_neighbour(query: Sequence[int], key: Sequence[int]) -> tuple[int, int]:
    """How many jumps and random draws each neighbour has in an iteration, for volumes `(B, T, H, W, C)`."""
    return len(_jumps(query[1] > 1)), _windows(key[1:4])


class PatchCandidates:
    """Candidates for queries, which are named by their place in the whole batch, `b * T * H * W + position`.

    Args:
        query: shape `(B, T, H, W, C)` of the query volumes.
        key: shape `(B, T', H', W', C)` of the key volumes.
        size: `(p_t, p_y, p_x)` of a patch.
        neighbours: K.
        seed: of the random numbers.
        key_valid: `(B, T', H', W')` bool; a patch with an invalid pixel is no key.
        key_frames: `(T, F)`, the key frames that each query frame may look at, -1 = none; None = all.
        exclude: a match in the query's own frame is at least so many rows or columns away.
        device: of the candidates.
    """

    def __init__(
        self,
        query: Sequence[int],
        key: Sequence[int],
        size: tuple[int, int, int],
        neighbours: int,
        seed: int,
        key_valid: Tensor | None,
        key_frames: Tensor | None,
        exclude: int,
        device: torch.device,
    ) -> None:
        self.queries, self.keys = (query[1], query[2], query[3]), (key[1], key[2], key[3])
        self.neighbours, self.seed, self.exclude = neighbours, seed, exclude
        self.valid = None if key_valid is None else _whole_patches(key_valid, size)
        self.rigid = key_frames is None
        self.frames, self.slots = _frame_tables(self.queries[0], self.keys[0], key_frames, device)
        self.ranks = _KeyRanks(self.keys, self.valid)
        self.jumps = _jumps(self.queries[0] > 1)
        self.windows = _windows(self.keys)

    def initial(self, queries: Tensor) -> Tensor:
        """One random key per neighbour, `(n, K)`: spread over the frames, then over the keys of a frame."""
        batch, t, position = self._split(queries)
        count = self.frames.shape[1]
        stride = max(1, count // self.neighbours)
        strata = math.ceil(self.neighbours / count)
        k = torch.arange(self.neighbours, device=queries.device)
        bits = philox(self.seed, position, 0, k)
        frame = self.frames[t, (t + k * stride + below(bits[0], stride)) % count]
        return self._encode(queries, *self.ranks.draw(batch, frame, bits[1], k // count, strata))

    def propagated(self, queries: Tensor, index: Tensor) -> Tensor:
        """What the queries a jump away have found, moved back by the jump, `(n, J * K)`; index `(B * T * H * W, K)`."""
        frames, height, width = self.queries
        _, t, position = self._split(queries)
        y, x = position // width % height, position % width
        dt, dy, dx = torch.tensor(self.jumps, device=queries.device).unbind(1)
        inside = _inside(t + dt, frames) & _inside(y + dy, height) & _inside(x + dx, width)
        source = queries.unsqueeze(1) + (dt * height + dy) * width + dx
        found = index[source.where(inside, 0)].masked_fill(~inside.unsqueeze(-1), -1)
        kt, ky, kx = self._decode(found)
        kt = kt - dt[:, None] if self.rigid else kt
        return self._encode(queries, kt, ky - dy[:, None], kx - dx[:, None], found >= 0).flatten(1)

    def random(self, queries: Tensor, centres: Tensor, iteration: int) -> Tensor:
        """Draws anywhere, then in windows around each centre `(n, K)` that halve in space and time, `(n, R * K)`."""
        batch, t, position = (part.unsqueeze(-1) for part in self._split(queries))
        window = torch.arange(self.windows, device=queries.device).unsqueeze(-1)
        neighbour = torch.arange(centres.shape[1], device=queries.device)
        bits = philox(self.seed, position, 1 + iteration * self.windows + window, neighbour)
        count = self.frames.shape[1]
        frame = self.frames[t, below(bits[0][:, :1], count)]
        anywhere = self._encode(queries, *self.ranks.draw(batch, frame, bits[1][:, :1], 0, 1))
        window, bits = window[1:], [word[:, 1:] for word in bits]
        kt, ky, kx = self._decode(centres.unsqueeze(1))
        slot = _draw_near(self.slots[t, kt], count >> window, count, bits[0])
        y = _draw_near(ky, max(self.keys[1:]) >> window, self.keys[1], bits[1])
        x = _draw_near(kx, max(self.keys[1:]) >> window, self.keys[2], bits[2])
        near = self._encode(queries, self.frames[t, slot], y, x, centres.unsqueeze(1) >= 0)
        return torch.cat([anywhere, near], dim=1).flatten(1)

    def allowed(self, queries: Tensor, index: Tensor) -> Tensor:
        """The given keys `(n, K)`, -1 where one is not allowed."""
        return self._encode(queries, *self._decode(index), index >= 0)

    def _split(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Batch element, frame and position in the volume, `(n, 1)` each."""
        positions = math.prod(self.queries)
        position = (queries % positions).unsqueeze(1)
        return (queries // positions).unsqueeze(1), position // math.prod(self.queries[1:]), position

    def _decode(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frame, row and column in the key volume; those of key 0 for -1."""
        position = index.long().clamp(min=0)
        row = position // self.keys[2]
        return row // self.keys[1], row % self.keys[1], position % self.keys[2]

    def _encode(self, queries: Tensor, t: Tensor, y: Tensor, x: Tensor, given: Tensor) -> Tensor:
        """int32 positions of keys `(n, ...)`, -1 where nothing is given or the key is not allowed."""
        batch, own_frame, own_position = (part.view(-1, *[1] * (t.ndim - 1)) for part in self._split(queries))
        frames, height, width = self.keys
        allowed = given & _inside(t, frames) & _inside(y, height) & _inside(x, width)
        position = ((t * height + y) * width + x).where(allowed, 0)
        if self.valid is not None:
            allowed &= self.valid.flatten()[batch * math.prod(self.keys) + position]
        if not self.rigid:
            allowed &= self.slots[own_frame, t.clamp(0, frames - 1)] >= 0
        if self.exclude:
            own_y, own_x = own_position // self.queries[2] % self.queries[1], own_position % self.queries[2]
            near = ((y - own_y).abs() < self.exclude) & ((x - own_x).abs() < self.exclude)
            allowed &= ~(near & (t == own_frame))
        return position.where(allowed, -1).int()


class _KeyRanks:
    """The valid keys of every frame in order, so that one is drawn at once however few they are."""

    def __init__(self, keys: tuple[int, int, int], valid: Tensor | None) -> None:
        self.keys = keys
        self.order: Tensor | None = None
        if valid is not None:
            self.order = (~valid).sort(dim=1, stable=True).indices.int()
            self.counts = valid.view(len(valid), keys[0], -1).sum(-1)
            self.starts = self.counts.cumsum(1) - self.counts

    def draw(
        self, batch: Tensor, frame: Tensor, bits: Tensor, stratum: Tensor | int, strata: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frame, row and column of a valid key of a frame, and whether there is one.

        The keys are cut into equal strata, one of which is drawn from.
        """
        given = frame >= 0
        frame = frame.clamp(min=0)
        area = math.prod(self.keys[1:])
        count = area if self.order is None else self.counts[batch, frame]
        low, high = stratum * count // strata, (stratum + 1) * count // strata
        rank = low + below(bits, torch.as_tensor(high - low).clamp(min=1))
        if self.order is not None:
            given = given & (count > 0)
            rank = self.order[batch, (self.starts[batch, frame] + rank).clamp(max=self.order.shape[1] - 1)] % area
        return frame, rank // self.keys[2], rank % self.keys[2], given


def _frame_tables(
    query_frames: int, key_frames: int, lists: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Key frames of each query frame `(T, F)`, and the place of each key frame in that list `(T, T')`; -1 = none."""
    if lists is None:
        frames = torch.arange(key_frames, device=device).expand(query_frames, -1)
        return frames, frames
    frames = lists.to(device, torch.int64)
    known = _inside(frames, key_frames)
    places = torch.arange(frames.shape[1], device=device).expand_as(frames)
    slots = frames.new_full((query_frames, key_frames + 1), -1)
    slots = slots.scatter_reduce(1, frames.where(known, key_frames), places, "amax")
    return frames.where(known, -1), slots[:, :key_frames]


def _jumps(temporal: bool) -> list[tuple[int, int, int]]:
    """`(dt, dy, dx)` of the jumps of one propagation."""
    jumps = [(0, y * step, x * step) for step in SPATIAL_JUMPS for y, x in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    return jumps + [(sign * step, 0, 0) for step in TEMPORAL_JUMPS for sign in (-1, 1) if temporal]


def _windows(keys: Sequence[int]) -> int:
    """Draws of one random search: anywhere, then radius S / 2, S / 4, ..., 1 of the longer side S."""
    return max(keys[1:]).bit_length()


def _draw_near(centre: Tensor, radius: Tensor, length: int, bits: Tensor) -> Tensor:
    """Uniform in the window around a centre, cut at the borders: all of a draw's chances lie inside."""
    low, high = (centre - radius).clamp(min=0), (centre + radius).clamp(max=length - 1)
    return low + below(bits, high - low + 1)


def _inside(x: Tensor, length: int) -> Tensor:
    return (x >= 0) & (x < length)


def _whole_patches(key_valid: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Key patches without an invalid pixel, `(B, T' * H' * W')` bool."""
    padding = [side // 2 for side in size]
    return F.max_pool3d((~key_valid).float().unsqueeze(1), size, stride=1, padding=padding).flatten(1) == 0
