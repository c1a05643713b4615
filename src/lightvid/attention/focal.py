"""Temporal focal window attention of E2FGVI."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast, fused_attention

# Numbers in the gathered keys and values of the windows that are mixed at once when no gradient is needed: 16 MiB in
# float32, one window of 5x9 tokens with 512 channels at up to 24 frames.
ELEMENTS_AT_ONCE = 2**22

Array = NDArray[np.int64]
Flags = NDArray[np.bool_]


class FocalAttention(nn.Module):
    """Temporal focal window attention (E2FGVI, Li et al., CVPR 2022).

    Every frame is cut into windows. The tokens of one window, of all frames together, attend in every frame to

    - the window itself;
    - the tokens around it, which four cyclic shifts of the frame by `expand` rows and columns bring into the window;
      one that two shifts bring counts twice;
    - the windows around it, each pooled to one token by a learned weighting of its positions.

    Tokens and pooled tokens go through the same `qkv` layer. The caller normalises the tokens (LayerNorm in the paper).

    A frame that does not divide into windows is continued with tokens that nothing attends to and that pool as zeros.

    Args:
        channels: width of the tokens, divisible by the number of heads.
        heads: number of heads.
        window: rows and columns of a window. The pooled windows that it sees are the `2 * (size // 2) + 1` nearest ones
            in each direction; those outside of the frame do not exist (the released code has zeros at a logit of -100).
        expand: rows and columns of the surroundings on each side; half a window by default.
        pooled: whether to look at pooled windows.
        mask_wraparound: leave out tokens that a shift brings from the opposite side of the frame. Off by default: the
            released code attends to them.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 4,
        window: Sequence[int] = (5, 9),
        expand: Sequence[int] | None = None,
        pooled: bool = True,
        mask_wraparound: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ConfigurationError(f"{channels} channels do not split into {heads} equal heads: change one of them")
        if len(window) != 2 or min(window) < 1:
            raise ConfigurationError(f"window is (rows, columns) of at least 1 token, got {tuple(window)}")
        if expand is None:
            expand = [size // 2 for size in window]
        if len(expand) != 2 or not all(0 <= shift <= size for shift, size in zip(expand, window, strict=True)):
            raise ConfigurationError(
                f"expand is (rows, columns) from 0 to the window's {tuple(window)}, got {tuple(expand)}"
            )
        self.heads = heads
        self.window = (window[0], window[1])
        self.expand = (expand[0], expand[1])
        self.mask_wraparound = mask_wraparound
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.pool = nn.Linear(math.prod(window), 1) if pooled else None
        if self.pool is not None:  # the mean, to begin with
            nn.init.constant_(self.pool.weight, 1 / math.prod(window))
            nn.init.zeros_(self.pool.bias)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`, normalised.
            holes: `(B, T, H, W)`, not used: the paper's attention does not know where the holes are.

        Returns:
            `(B, T, H, W, C)`.
        """
        x = cast_for_autocast(x)
        channels = x.shape[-1]
        size = (x.shape[2], x.shape[3])
        layout = _windows(size, self.window, self.expand, self.pool is not None, self.mask_wraparound, x.device)
        tokens = x.flatten(2, 3)
        query = F.linear(tokens, self.qkv.weight[:channels], self.qkv.bias[:channels])
        if self.pool is not None:
            tokens = torch.cat((tokens, _pool(x, self.pool, self.window)), dim=2)
        key_value = F.linear(tokens, self.qkv.weight[channels:], self.qkv.bias[channels:])
        del tokens
        mixed = self._mix(query, key_value, layout).flatten(2, 3)
        return self.proj(mixed.index_select(2, layout.places).unflatten(2, x.shape[2:4]))

    def _mix(self, query: Tensor, key_value: Tensor, layout: _Windows) -> Tensor:
        """The windows' tokens, mixed, `(B, T, windows, tokens, C)`: without gradients, a few windows at a time."""
        if torch.is_grad_enabled() or torch.compiler.is_exporting():  # a program's loop would fix the clip's length
            return self._mix_windows(query, key_value, layout)
        batch, frames = query.shape[:2]
        windows, tokens = layout.queries.shape
        mixed = query.new_empty(batch, frames, windows, tokens, query.shape[-1])
        at_once = max(1, ELEMENTS_AT_ONCE // (batch * frames * layout.keys.shape[1] * key_value.shape[-1]))
        for start in range(0, windows, at_once):
            part = slice(start, start + at_once)
            mixed[:, :, part] = self._mix_windows(query, key_value, layout.part(part))
        return mixed

    def _mix_windows(self, query: Tensor, key_value: Tensor, layout: _Windows) -> Tensor:
        batch, frames = query.shape[:2]
        windows, tokens = layout.queries.shape
        q = _gather(query, layout.queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = _gather(key_value, layout.keys).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # To count twice in a softmax is to have log 2 added to the logit, and not to count, -inf.
        bias = layout.counts.to(q.dtype).log().repeat(batch, frames)[:, None, None]  # (B * windows, 1, 1, T * K)
        mixed = fused_attention(q, k, v, bias)
        return mixed.transpose(1, 2).reshape(batch, windows, frames, tokens, -1).transpose(1, 2)


def _pool(x: Tensor, layer: nn.Linear, window: tuple[int, int]) -> Tensor:
    """One token per window, `(B, T, H, W, C)` to `(B, T, windows, C)`."""
    below, right = -x.shape[2] % window[0], -x.shape[3] % window[1]
    if below or right:
        x = F.pad(x, (0, 0, 0, right, 0, below))
    cut = x.unflatten(3, (-1, window[1])).unflatten(2, (-1, window[0]))
    pooled = torch.einsum("btiujvc,uv->btijc", cut, layer.weight.view(window))
    return pooled.flatten(2, 3) + layer.bias


def _gather(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows of `(B, T, N, C)` at `(windows, K)` of every frame, as `(B * windows, T * K, C)`."""
    batch, frames, count, channels = tokens.shape
    frame = torch.arange(batch * frames, device=tokens.device).view(batch, 1, frames, 1)
    rows = frame * count + indices.unsqueeze(1)
    return tokens.reshape(-1, channels).index_select(0, rows.flatten()).view(batch * len(indices), -1, channels)


class _Windows(NamedTuple):
    """Where the tokens of every window of a frame are. A frame's tokens come first, its pooled windows after them.

    Attributes:
        queries: `(windows, tokens)`, a window's own tokens; any token where the window reaches out of the frame.
        keys: `(windows, K)`, the distinct tokens that it attends to, filled up with any token to a common K.
        counts: `(windows, K)`, how often each of them counts: 0 for those that only fill up.
        places: `(H * W)`, where every token of the frame is in `queries`, flattened.
    """

    queries: Tensor
    keys: Tensor
    counts: Tensor
    places: Tensor

    def part(self, windows: slice) -> _Windows:
        """Some of the windows."""
        return self._replace(queries=self.queries[windows], keys=self.keys[windows], counts=self.counts[windows])


@torch.compiler.assume_constant_result
def _windows(*geometry: Any) -> _Windows:
    """The windows of a frame. torch.compile takes them as they are; where it keeps sizes open, the graph breaks."""
    # What is made while a compiler or exporter only pretends to compute must not be kept for later.
    make = _make_windows.__wrapped__ if detect_fake_mode() else _make_windows
    return make(*geometry)


@lru_cache(maxsize=64)
def _make_windows(
    size: tuple[int, int],
    window: tuple[int, int],
    expand: tuple[int, int],
    pooled: bool,
    mask_wraparound: bool,
    device: torch.device,
) -> _Windows:
    """The windows of a frame of `size` (H, W); all layers share them."""
    grid = (math.ceil(size[0] / window[0]), math.ceil(size[1] / window[1]))
    numbers = _offsets(range(grid[0]), range(grid[1]))
    own = _offsets(range(window[0]), range(window[1]))
    corners, whole = numbers * window, (grid[0] * window[0], grid[1] * window[1])
    queries, real = _tokens_at(corners, own, size, whole, wrap=False)
    places = np.empty(math.prod(size), dtype=np.int64)
    places[queries[real]] = np.flatnonzero(real)
    around = np.concatenate((own, _surroundings(own, window, expand)))
    keys, exist = _tokens_at(corners, around, size, whole, wrap=not mask_wraparound)
    if pooled:
        reach = (window[0] // 2, window[1] // 2)
        nearest = _offsets(*(range(-far, far + 1) for far in reach))
        pooled_keys, pooled_exist = _tokens_at(numbers, nearest, grid, grid, wrap=False)
        keys = np.concatenate((keys, math.prod(size) + pooled_keys), axis=1)
        exist = np.concatenate((exist, pooled_exist), axis=1)
    with torch.inference_mode(False):  # a tensor made in inference mode could not be used in training later
        fields = (np.where(real, queries, 0), *_distinct(keys, exist), places)
        return _Windows(*(torch.as_tensor(field, device=device) for field in fields))


def _tokens_at(
    origins: Array, offsets: Array, size: tuple[int, int], whole: tuple[int, int], *, wrap: bool
) -> tuple[Array, Flags]:
    """Indices of the tokens at `offsets (K, 2)` from `origins (windows, 2)`, and which of them exist.

    Those are the ones within `size` (H, W). Positions beyond `whole`, the size that divides into windows, continue at
    its other side if they `wrap`, and do not exist otherwise.
    """
    positions = origins[:, None] + offsets
    inside = positions % whole
    exist: Flags = np.all(inside < size, axis=-1)
    if not wrap:
        exist = exist & np.all(inside == positions, axis=-1)
    return inside @ (size[1], 1), exist


def _surroundings(own: Array, window: tuple[int, int], expand: tuple[int, int]) -> Array:
    """Offsets of the tokens that the four shifts bring into a window from outside of it."""
    shifts = itertools.product((expand[0], -expand[0]), (expand[1], -expand[1]))
    shifted = np.concatenate([own + shift for shift in shifts])
    return shifted[((shifted < 0) | (shifted >= window)).any(-1)]


def _distinct(keys: Array, exist: Flags) -> tuple[Array, Array]:
    """The distinct ones of each window's existing keys and how often each is there, filled up with zeros.

    With 5x9 windows on 20x36 tokens this leaves 169 keys a frame to gather, of 210 with the repetitions and the pooled
    windows outside of the frame.
    """
    rows = [np.unique(key[there], return_counts=True) for key, there in zip(keys, exist, strict=True)]
    longest = max(len(key) for key, _ in rows)
    distinct, counts = (
        np.stack([np.pad(row, (0, longest - len(row))) for row in column]) for column in zip(*rows, strict=True)
    )
    return distinct, counts


def _offsets(rows: range, columns: range) -> Array:
    """All (row, column) pairs, row by row."""
    return np.array(list(itertools.product(rows, columns)), dtype=np.int64)
