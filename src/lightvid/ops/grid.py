"""Views between tokens on a grid and the images that convolutions see, and padding to a multiple."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad


def tokens_to_images(tokens: Tensor) -> Tensor:
    """`(B, T, H, W, C)` to `(B*T, C, H, W)`, channels-last in memory: a view of contiguous tokens."""
    return tokens.flatten(0, 1).permute(0, 3, 1, 2)


def images_to_tokens(images: Tensor, batch: int) -> Tensor:
    """`(B*T, C, H, W)` to `(B, T, H, W, C)`: a view of channels-last images."""
    return images.permute(0, 2, 3, 1).unflatten(0, (batch, -1))


def pad_to_multiple(images: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of `(N, C, H, W)` until the size is a multiple of `(height, width)`."""
    bottom, right = -images.shape[-2] % height, -images.shape[-1] % width
    return pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
