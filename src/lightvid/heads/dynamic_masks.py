"""Masks from a small network that every query writes itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lightvid.ops import tokens_to_maps

LAYERS = 3
ELEMENTS_AT_ONCE = 2**24


class DynamicMaskHead(nn.Module):
    """Three 1x1 convolutions whose weights come from the query, on features that all queries share.

    CondInst (Tian et al., ECCV 2020), for video as in SeqFormer (Wu et al., ECCV 2022). Beside the features a pixel
    knows where it is relative to the query's box, in units of the box.

    Args:
        channels: width of queries and tokens.
        feature_channels: of the stem's maps, the finest first.
        width: channels of the shared features on their way to a quarter of the resolution.
        dynamic_channels: of the features that the queries' networks see, and inside of these.
    """

    def __init__(
        self, channels: int, *, feature_channels: list[int], width: int = 64, dynamic_channels: int = 8
    ) -> None:
        super().__init__()
        self.feature_channels = feature_channels
        self.dynamic_channels = dynamic_channels
        self.entrance = nn.Conv2d(channels, width, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in feature_channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU())
            for _ in feature_channels
        )
        self.exit = nn.Conv2d(width, dynamic_channels, 1)
        d = dynamic_channels
        self.sizes = [(d + 2) * d, d, d * d, d, d, 1]
        self.controller = nn.Linear(channels, sum(self.sizes))
        nn.init.normal_(self.controller.weight, std=0.02)
        nn.init.zeros_(self.controller.bias)

    def forward(
        self, queries: Tensor, boxes: Tensor, tokens: Tensor, features: list[Tensor], padding: Tensor | None
    ) -> Tensor:
        """Logits of the instances' masks.

        Args:
            queries: `(B, T, I, C)`.
            boxes: `(B, T, I, 4)`, see `InstancePrediction`; they get no gradient from here.
            tokens: `(B, T, h, w, C)`.
            features: the stem's maps `(B * T, c, h', w')`, the finest first.
            padding: `(B, T, h, w)` bool, or None.

        Returns:
            `(B, T, I, H', W')`, of the finest map's size.
        """
        shared = self._shared(tokens, features).unflatten(0, tokens.shape[:2])
        places = _relative_places(boxes.detach(), shared.shape[-2:], padding)
        weights = self.controller(queries).float()
        if torch.compiler.is_exporting():  # a loop would fix the clip's length in the program
            return self._draw(weights, shared.float(), places)
        frames = max(
            1, ELEMENTS_AT_ONCE // (len(queries) * queries.shape[2] * self.dynamic_channels * shared[0, 0, 0].numel())
        )
        masks = []
        for first in range(0, queries.shape[1], frames):
            part = slice(first, first + frames)
            given = (weights[:, part], shared[:, part].float(), [p[:, part] for p in places])
            if torch.is_grad_enabled():
                masks.append(checkpoint(self._draw, *given, use_reentrant=False, preserve_rng_state=False))
            else:
                masks.append(self._draw(*given))
        return torch.cat(masks, dim=1)

    def _shared(self, tokens: Tensor, features: list[Tensor]) -> Tensor:
        """`(B * T, d, H', W')` of the finest map's size."""
        x = self.entrance(tokens_to_maps(tokens))
        for lateral, smooth, feature in zip(
            reversed(self.lateral), reversed(self.smooth), reversed(features), strict=True
        ):
            if feature.shape[-1] < x.shape[-1]:
                continue  # coarser than the tokens
            x = F.interpolate(x, size=feature.shape[-2:], mode="bilinear", align_corners=False)
            x = smooth(x + lateral(feature))
        return self.exit(x)

    def _draw(self, weights: Tensor, shared: Tensor, places: list[Tensor]) -> Tensor:
        d = self.dynamic_channels
        w1, b1, w2, b2, w3, b3 = weights.split(self.sizes, dim=-1)
        w1 = w1.unflatten(-1, (d, d + 2))
        x, y = places  # (B, T, I, 1, W), (B, T, I, H, 1)
        hidden = torch.einsum("btiod,btdhw->btiohw", w1[..., :d], shared)
        hidden = hidden + (w1[..., d, None, None] * x.unsqueeze(3)) + (w1[..., d + 1, None, None] * y.unsqueeze(3))
        hidden = F.relu(hidden + b1[..., None, None])
        hidden = torch.einsum("btiod,btidhw->btiohw", w2.unflatten(-1, (d, d)), hidden)
        hidden = F.relu(hidden + b2[..., None, None])
        return torch.einsum("btid,btidhw->btihw", w3, hidden) + b3.unsqueeze(-1)


def _relative_places(boxes: Tensor, size: torch.Size, padding: Tensor | None) -> list[Tensor]:
    """Pixels' x `(B, T, I, 1, W)` and y `(B, T, I, H, 1)` from the box's centre, in halves of its size, at most 4."""
    places = []
    for axis, (length, shape) in enumerate(((size[1], (1, -1)), (size[0], (-1, 1)))):
        part = torch.ones(1, device=boxes.device)
        if padding is not None:
            valid = (~padding).float()
            part = (valid[:, :, 0].mean(-1) if axis == 0 else valid[:, :, :, 0].mean(-1))[..., None, None, None]
        cells = ((torch.arange(length, device=boxes.device) + 0.5) / length).view(shape) / part
        centre, side = boxes[..., axis, None, None], boxes[..., axis + 2, None, None]
        places.append(((cells - centre) * 2 / side.clamp_min(0.02)).clamp(-4, 4))
    return places
