"""VisTR's mask head: attention maps, a pyramid for every instance and frame, 3-D convolutions over its frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightvid.errors import ConfigurationError
from lightvid.ops import tokens_to_maps
from lightvid.ops.deformable_conv import deformable_conv2d


class SequenceMaskHead(nn.Module):
    """The mask head of VisTR (Wang et al., CVPR 2021, Sec. 3.3), one instance after the other.

    What an instance needs besides the shared maps is computed again in the backward pass, so that its memory is that of
    one instance whatever their number. The first convolution is split: its part on the tokens, 48 times the larger one
    at the published size, is the same for all instances.

    Args:
        channels: width of queries and tokens.
        feature_channels: of the stem's maps, the finest first: those of 1/4, 1/8 and 1/16 of the size are used.
        heads: of the attention maps.
        chunk: frames whose pyramid is computed at once.
    """

    def __init__(self, channels: int, *, feature_channels: list[int], heads: int = 8, chunk: int = 6) -> None:
        super().__init__()
        if channels % 128 or heads % 8 or channels % heads:
            raise ConfigurationError(
                f"VisTR's mask head has groups of 8 down to channels / 16: got {channels} channels and {heads} heads,"
                " give multiples of 128 and of 8"
            )
        self.feature_channels = feature_channels
        self.heads = heads
        self.chunk = chunk
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        width = channels + heads
        widths = [width, channels // 2, channels // 4, channels // 8]
        inputs = [width, width, *widths[1:3]]
        self.convolutions = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(inputs, widths, strict=True))
        self.norms = nn.ModuleList(nn.GroupNorm(8, c) for c in (*widths, channels // 16))
        finest_last = reversed(feature_channels[:3])
        self.adapters = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(finest_last, widths[1:], strict=True))
        self.offset = nn.Conv2d(widths[3], 18, 1)
        self.deformable = nn.Parameter(torch.empty(channels // 16, widths[3], 3, 3))
        sequence: list[nn.Module] = []
        for inner in (channels // 16, 12, 12):
            sequence += [nn.Conv3d(inner, 12, 3, padding=2, dilation=2), nn.GroupNorm(4, 12), nn.ReLU(inplace=True)]
        self.sequence = nn.Sequential(*sequence, nn.Conv3d(12, 1, 1))
        self._start()

    def forward(
        self, queries: Tensor, boxes: Tensor, tokens: Tensor, features: list[Tensor], padding: Tensor | None
    ) -> Tensor:
        """See `DynamicMaskHead.forward`; the boxes are not looked at."""
        maps = tokens_to_maps(tokens)
        attention = self._attention(queries, tokens, padding)
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv2d)
        shared = F.conv2d(maps, first.weight[:, : maps.shape[1]], first.bias, padding=1)
        laterals = [adapter(f) for adapter, f in zip(self.adapters, reversed(features[:3]), strict=True)]
        frames = tokens.shape[1]
        clips = []
        for clip in range(len(tokens)):
            part = slice(clip * frames, (clip + 1) * frames)
            given = [shared[part], *(lateral[part] for lateral in laterals)]
            clips.append(
                torch.stack([_recomputed(self._instance, a, *given) for a in attention[clip].unbind(1)], dim=1)
            )
        return torch.stack(clips)

    def _attention(self, queries: Tensor, tokens: Tensor, padding: Tensor | None) -> Tensor:
        """`(B, T, I, heads, h, w)`, softmax over heads and cells together."""
        q = self.query(queries).unflatten(-1, (self.heads, -1))
        k = self.key(tokens).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("btimc,bthwmc->btimhw", q * q.shape[-1] ** -0.5, k).float()
        if padding is not None:
            scores = scores.masked_fill(padding[:, :, None, None], -torch.inf)
        return scores.flatten(3).softmax(-1).view(scores.shape)

    def _instance(self, attention: Tensor, shared: Tensor, *laterals: Tensor) -> Tensor:
        """One instance, `(T, heads, h, w)` attention maps to `(T, H', W')` logits."""
        parts = zip(*(x.split(self.chunk) for x in (attention, shared, *laterals)), strict=True)
        pyramid = torch.cat([_recomputed(self._pyramid, *part) for part in parts])
        return self.sequence(pyramid.transpose(0, 1).unsqueeze(0))[0, 0]

    def _pyramid(self, attention: Tensor, shared: Tensor, *laterals: Tensor) -> Tensor:
        """`(t, heads, h, w)` attention maps of some frames to `(t, c, H', W')`."""
        weight = self.convolutions[0].weight[:, -self.heads :]  # type: ignore[index]
        x = shared + F.conv2d(attention.to(shared.dtype), weight, padding=1)
        x = F.relu(self.norms[0](x))
        x = F.relu(self.norms[1](self.convolutions[1](x)))
        for number, lateral in enumerate(laterals, 2):
            x = lateral + F.interpolate(x, size=lateral.shape[-2:])
            if number < len(self.convolutions):
                x = F.relu(self.norms[number](self.convolutions[number](x)))
        return F.relu(self.norms[4](deformable_conv2d(x, self.offset(x), self.deformable, padding=1)))

    def _start(self) -> None:
        """Initial weights as published; at first the deformable convolution is a plain one."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for layer in (self.query, self.key):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.offset.weight)
        nn.init.kaiming_uniform_(self.deformable, nonlinearity="relu")


def _recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
