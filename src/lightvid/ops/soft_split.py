"""Soft split and soft composition of FuseFormer (Liu et al., ICCV 2021): tokens are overlapping patches of a map.

As published they are an unfolding and a linear layer, and a linear layer and a folding. The same numbers come from a
strided convolution and its transpose, without the unfolded patches, which take `kernel^2 / stride^2` times the map.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class PatchGrid(NamedTuple):
    """Square patches of `kernel` pixels, one every `stride` pixels, on a map that is continued by `padding` zeros."""

    kernel: int = 7
    stride: int = 3
    padding: int = 3

    def tokens(self, height: int, width: int) -> tuple[int, int]:
        """How many patches a map has, in rows and columns."""
        rows, columns = ((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (height, width))
        return rows, columns


def soft_split(maps: Tensor, weight: Tensor, bias: Tensor | None, grid: PatchGrid) -> Tensor:
    """One token per patch: a linear layer on the unfolded patches.

    Args:
        maps: `(N, c, h, w)`.
        weight: of the linear layer, `(C, c * kernel^2)`, each channel's patch row by row.
        bias: `(C,)`.
        grid: where the patches lie.

    Returns:
        `(N, C, rows, columns)`.
    """
    return F.conv2d(maps, _as_kernels(weight, grid), bias, grid.stride, grid.padding)


def soft_composition(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, size: tuple[int, int], grid: PatchGrid
) -> Tensor:
    """A linear layer from tokens to patches, which are added where they overlap.

    Args:
        tokens: `(N, C, rows, columns)`.
        weight: of the linear layer, `(c * kernel^2, C)`.
        bias: `(c * kernel^2,)`.
        size: of the map; one whose `grid.tokens` are the rows and columns.
        grid: where the patches lie.

    Returns:
        `(N, c, h, w)`.
    """
    if grid.tokens(*size) != tuple(tokens.shape[2:]):
        raise ValueError(f"a map of {size} has {grid.tokens(*size)} patches, got tokens {tuple(tokens.shape)}")
    maps = _fold(tokens, _as_kernels(weight.mT, grid), size, grid)
    if bias is None:
        return maps
    ones = tokens.new_ones(1, 1, *tokens.shape[2:])
    return maps + _fold(ones, _as_kernels(bias.unsqueeze(0), grid), size, grid)


def overlap_count(like: Tensor, size: tuple[int, int], grid: PatchGrid) -> Tensor:
    """How many patches cover each pixel, `(1, 1, h, w)` in the dtype and on the device of `like`."""
    kernel = like.new_ones(1, 1, grid.kernel, grid.kernel)
    return _fold(like.new_ones(1, 1, *grid.tokens(*size)), kernel, size, grid)


def _as_kernels(weight: Tensor, grid: PatchGrid) -> Tensor:
    """`(C, c * kernel^2)` as convolution kernels `(C, c, kernel, kernel)`."""
    return weight.reshape(len(weight), -1, grid.kernel, grid.kernel)


def _fold(tokens: Tensor, kernels: Tensor, size: tuple[int, int], grid: PatchGrid) -> Tensor:
    """Add the patches `tokens x kernels` where they overlap."""
    rest = [
        pixels - ((count - 1) * grid.stride - 2 * grid.padding + grid.kernel)
        for pixels, count in zip(size, tokens.shape[2:], strict=True)
    ]
    return F.conv_transpose2d(tokens, kernels, stride=grid.stride, padding=grid.padding, output_padding=rest)
