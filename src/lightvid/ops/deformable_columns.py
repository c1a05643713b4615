"""The columns of a deformable convolution: what its taps take from the features, part by part."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Numbers in the columns that are held at once: two of E2FGVI's sixteen groups on 60 x 108 features.
COLUMNS_AT_ONCE = 2**21

# Arguments of grid_sampler_2d: bilinear, zeros outside, align_corners=False.
_BILINEAR_ZEROS = (0, 0, False)


class Sampler(NamedTuple):
    """Cuts the work into parts of bounded size: rows of an image's output, and of these some groups of channels."""

    x: Tensor
    offset: Tensor
    mask: Tensor | None
    kernel: tuple[int, ...]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    dtype: torch.dtype

    def tiles(self) -> Iterator[tuple[int, slice]]:
        """Every image's rows; a part's columns are no fewer than the features it reads, so the cost stays linear."""
        limit = max(COLUMNS_AT_ONCE, self._width() * math.prod(_canvas_size(self.x)))
        at_once = max(1, limit // self._columns_per_row())
        for image in range(len(self.x)):
            for start in range(0, self.offset.shape[2], at_once):
                yield image, slice(start, min(start + at_once, self.offset.shape[2]))

    def samples(self, image: int, rows: slice) -> Iterator[Samples]:
        """All groups of channels, as many at a time as fit."""
        taps, width = math.prod(self.kernel), self._width()
        at_once = max(1, COLUMNS_AT_ONCE // (self._columns_per_row() * (rows.stop - rows.start)))
        positions = self._positions(rows)
        for start in range(0, self.x.shape[1] // width, at_once):
            stop = min(start + at_once, self.x.shape[1] // width)
            masks, offsets = slice(start * taps, stop * taps), slice(2 * start * taps, 2 * stop * taps)
            features = self.x[image, start * width : stop * width].unflatten(0, (-1, width))
            shifts = self.offset[image, offsets, rows].to(self.dtype).reshape(-1, taps, 2, positions.shape[-1])
            mask = None
            if self.mask is not None:
                mask = self.mask[image, masks, rows].to(self.dtype).reshape(-1, 1, taps, positions.shape[-1])
            canvas, grid = _canvas(features, self.dtype), _grid(shifts + positions, self.x)
            yield Samples(slice(start * width, stop * width), offsets, masks, canvas, grid, mask)

    def _positions(self, rows: slice) -> Tensor:
        """Where the taps lie without their offsets, `(taps, 2, n)` as y, x."""
        axes = []
        for axis, (first, last) in enumerate(((rows.start, rows.stop), (0, self.offset.shape[3]))):
            line = torch.arange(first, last, dtype=self.dtype, device=self.x.device)
            tap = torch.arange(self.kernel[axis], dtype=self.dtype, device=self.x.device)
            axes.append(tap[:, None] * self.dilation[axis] + line * self.stride[axis] - self.padding[axis])
        y, x = torch.broadcast_tensors(axes[0][:, None, :, None], axes[1][:, None])
        return torch.stack((y, x), dim=2).flatten(3).flatten(0, 1)

    def _width(self) -> int:
        """Channels of a group."""
        return self.x.shape[1] * 2 * math.prod(self.kernel) // self.offset.shape[1]

    def _columns_per_row(self) -> int:
        return self._width() * math.prod(self.kernel) * self.offset.shape[3]


class Samples(NamedTuple):
    """The features that k groups of c channels take at n positions; the slices say which ones these are."""

    channels: slice
    offsets: slice
    masks: slice
    canvas: Tensor  # (k, c, ...)
    grid: Tensor  # (k, taps, n, 2)
    mask: Tensor | None  # (k, 1, taps, n)

    def columns(self) -> Tensor:
        """`(k, c, taps, n)`, without the mask."""
        return torch.grid_sampler_2d(self.canvas, self.grid, *_BILINEAR_ZEROS)

    def backward(self, d_columns: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the canvas, and of the offsets `(k, taps, 2, n)`."""
        d_canvas, d_grid = torch.ops.aten.grid_sampler_2d_backward(
            d_columns, self.canvas, self.grid, *_BILINEAR_ZEROS, [True, True]
        )
        height, width = self.canvas.shape[2:]
        return d_canvas, torch.stack((d_grid[..., 1] * (2 / height), d_grid[..., 0] * (2 / width)), dim=2)


def _canvas_size(x: Tensor) -> tuple[int, int]:
    """Powers of two, so that positions pass into the grid's range [-1, 1] and back with one rounding at most."""
    return 1 << (int(x.shape[-2]) - 1).bit_length(), 1 << (int(x.shape[-1]) - 1).bit_length()


def _canvas(features: Tensor, dtype: torch.dtype) -> Tensor:
    """The features on a larger map of zeros."""
    canvas = features.new_zeros(*features.shape[:2], *_canvas_size(features), dtype=dtype)
    canvas[..., : features.shape[2], : features.shape[3]] = features
    return canvas


def _grid(positions: Tensor, x: Tensor) -> Tensor:
    """Positions `(k, taps, 2, n)` as y, x in pixels, to the canvas' range [-1, 1] as x, y: `(k, taps, n, 2)`."""
    positions = positions.nan_to_num_(nan=-2)
    scaled = [
        positions[:, :, axis].clamp(-2, x.shape[2 + axis] + 1).mul_(2 / size).add_(1 / size - 1)
        for axis, size in enumerate(_canvas_size(x))
    ]
    return torch.stack(scaled[::-1], dim=-1)
