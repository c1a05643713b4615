"""Feed-forwards: `(B, T, H, W, C) -> (B, T, H, W, C)`, without an exchange between frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.errors import ConfigurationError
from lightvid.ops import cast_for_autocast, map_frames, maps_to_tokens, tokens_to_maps


class MLP(nn.Module):
    """Two linear layers with a ReLU between them, token by token (Vaswani et al., NeurIPS 2017; DSTT; VisTR).

    Args:
        channels: width of the tokens.
        hidden: width between the layers; by default four times `channels`.
        dropout: between the layers, in training.
    """

    def __init__(self, channels: int, *, hidden: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        if hidden is not None and hidden < 1:
            raise ConfigurationError(f"hidden counts channels: expected at least 1, got {hidden}")
        hidden = hidden or 4 * channels
        self.linear1 = nn.Linear(channels, hidden)
        self.dropout = dropout
        self.linear2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, T, H, W, C)` to the same shape."""
        x = F.relu(self.linear1(cast_for_autocast(x)), inplace=True)
        return self.linear2(F.dropout(x, self.dropout, self.training))


class ConvFeedForward(nn.Module):
    """Two 3x3 convolutions, the first dilated by 2, each with LeakyReLU(0.2) (STTN, Zeng et al., ECCV 2020).

    Args:
        channels: width of the tokens.
        hidden: width between the convolutions; by default `channels`.
        chunks: compute the frames in so many sequential parts (FastSTTN, Escher et al., SIBGRAPI 2021, Eq. 7). The
            result is the same, since no frame sees another.
    """

    def __init__(self, channels: int, *, hidden: int | None = None, chunks: int = 1) -> None:
        super().__init__()
        if chunks < 1:
            raise ConfigurationError(f"chunks counts parts of the frames: expected at least 1, got {chunks}")
        hidden = hidden or channels
        self.chunks = chunks
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=2, dilation=2)
        self.conv2 = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(B, T, H, W, C)` to the same shape."""
        maps = tokens_to_maps(x)
        if torch.is_grad_enabled() and self.chunks > 1:
            maps = torch.cat([self._layers(part) for part in maps.chunk(self.chunks)])
        else:
            maps = map_frames(self._layers, maps)
        return maps_to_tokens(maps, x.shape[0])

    def _layers(self, maps: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.conv1(maps), 0.2, inplace=True)
        return F.leaky_relu(self.conv2(hidden), 0.2, inplace=True)
