"""Feed-forward networks of a block."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from lightvid.errors import ConfigurationError
from lightvid.ops.chunking import map_frames
from lightvid.ops.grid import images_to_tokens, tokens_to_images


class ConvFeedForward(nn.Module):
    """Two 3x3 convolutions, the first dilated by 2, each with LeakyReLU 0.2 (STTN, Zeng et al., ECCV 2020).

    Args:
        channels: width of the tokens.
        hidden: width between the convolutions; None is `channels`.
        chunks: process the frames in this many chunks, one after the other (FastSTTN, Escher et al., 2021, Eq. 7):
            exact, because every frame is treated by itself.
    """

    def __init__(self, channels: int, *, hidden: int | None = None, chunks: int = 1) -> None:
        super().__init__()
        if chunks < 1:
            raise ConfigurationError(f"feed_forward.chunks counts chunks: expected at least 1, got {chunks}")
        hidden = hidden or channels
        self.chunks = chunks
        self.expand = nn.Conv2d(channels, hidden, 3, padding=2, dilation=2)
        self.contract = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, H, W, C)` to the same shape."""
        images = tokens_to_images(x)
        if torch.is_grad_enabled() and self.chunks > 1:
            images = torch.cat([self._frames(chunk) for chunk in images.chunk(self.chunks)])
        else:
            images = map_frames(self._frames, images)
        return images_to_tokens(images, x.shape[0])

    def _frames(self, images: Tensor) -> Tensor:
        hidden = leaky_relu(self.expand(images), 0.2, inplace=True)
        return leaky_relu(self.contract(hidden), 0.2, inplace=True)
