"""Queries that begin at the centres of objects, which a dense head finds in every frame."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.attention.cross import Memory
from lightvid.heads.queries import Queries, check_least, sine_of_time, valid_part
from lightvid.ops import maps_to_tokens, tokens_to_maps, without_autocast

PRIOR = 0.01  # probability of a centre at the start
FIRST_SIZE = 0.2  # of the clip's side, for boxes at the start


class CentreQueries(nn.Module):
    """The strongest centres in the middle frame of a clip become its queries, the same box in all frames at first.

    Centres are peaks of a map for each class (CenterNet, Zhou et al., 2019); that queries take content and box from the
    encoder is the two-stage form of Deformable DETR (Zhu et al., ICLR 2021). The maps of all frames are supervised
    densely, which trains the encoder long before the decoder finds objects: `extra["centres"]` `(B, T, H, W, n)`
    logits and `extra["centre_boxes"]` `(B, T, H, W, 4)` boxes, with padding also `extra["centre_part"]` `(B, 2)`, the
    part of its cells in x and y that is none; see `lightvid.losses.CentreLoss`. An instance that is not in the middle
    frame is left to the windows in which it is; one that is only in the first or last half window of a video is missed.

    Args:
        channels: width of tokens and queries.
        instances: I, the most instances of a clip.
    """

    gives_boxes: ClassVar[bool] = True

    def __init__(self, channels: int, *, instances: int = 10) -> None:
        super().__init__()
        check_least(instances=instances)
        self.instances = instances
        self.hidden = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(1, channels)
        self.boxes = nn.Linear(channels, 4)
        nn.init.zeros_(self.boxes.weight)
        nn.init.zeros_(self.boxes.bias)
        self.centres: nn.Linear | None = None
        self.content = nn.Sequential(nn.Linear(channels, channels), nn.LayerNorm(channels))
        self.place = nn.Sequential(nn.Linear(4, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.time = nn.Linear(channels, channels)

    def set_classes(self, classes: int) -> None:
        """Make the maps of this many classes; `QueryDecoder` calls it."""
        self.centres = nn.Linear(self.hidden.in_channels, classes)
        nn.init.normal_(self.centres.weight, std=0.01)
        nn.init.constant_(self.centres.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, memory: Memory) -> Queries:
        """Queries for a clip."""
        assert self.centres is not None, "set_classes comes first"
        batch, frames = memory.tokens.shape[:2]
        maps = F.relu(self.norm(self.hidden(tokens_to_maps(memory.tokens))))
        hidden = maps_to_tokens(maps, batch)
        centres = self.centres(hidden).float()
        with without_autocast(hidden.device):  # half precision moves boxes by pixels
            boxes = self.boxes(hidden.float()) + first_boxes(memory)
        middle = frames // 2
        padding = None if memory.padding is None else memory.padding[:, middle]
        cells = strongest_peaks(centres[:, middle].detach(), padding, self.instances)  # (B, I)
        content = self.content(_take(memory.tokens[:, middle].flatten(1, 2), cells))
        chosen = _take(boxes[:, middle].flatten(1, 2), cells).detach()
        difference = torch.arange(frames, device=cells.device) - middle
        time = self.time(sine_of_time(difference, content.shape[-1]))
        positions = self.place(chosen.to(content.dtype)).unsqueeze(1) + time.unsqueeze(1)
        extra = {"centres": centres, "centre_boxes": boxes.sigmoid()}
        if memory.padding is not None:
            extra["centre_part"] = valid_part(memory.padding)[:, middle]
        return Queries(
            content.unsqueeze(1).expand(-1, frames, -1, -1),
            positions,
            chosen.unsqueeze(1).expand(-1, frames, -1, -1),
            extra,
        )


def first_boxes(memory: Memory) -> Tensor:
    """Logits of a box around every cell, `(B or 1, T, H, W, 4)` in [0, 1] of the clip without its padding."""
    tokens, padding = memory.tokens, memory.padding
    inside = torch.ones((1, *tokens.shape[1:4]), device=tokens.device) if padding is None else (~padding).float()
    y, x = ((inside.cumsum(axis) - 0.5) / inside.sum(axis, keepdim=True).clamp_min(1) for axis in (2, 3))
    size = torch.full_like(x, FIRST_SIZE)
    return torch.stack((x, y, size, size), dim=-1).logit(eps=1e-4)


def strongest_peaks(logits: Tensor, padding: Tensor | None, count: int) -> Tensor:
    """Cells `(B, count)` of `(B, H, W, n)` with the highest logits, those with a higher neighbour last."""
    score = logits.amax(-1)
    if padding is not None:
        score = score.masked_fill(padding, -torch.inf)
    is_peak = F.max_pool2d(score.unsqueeze(1), 3, stride=1, padding=1).squeeze(1) == score
    ranked = (score.sigmoid() + is_peak).where(score.isfinite(), -1)  # not even after all others: a peak of padding
    ranked = ranked.flatten(1)
    repeats = -(-count // ranked.shape[1])  # a tiny map has fewer cells than there are queries
    return ranked.topk(min(count, ranked.shape[1])).indices.repeat(1, repeats)[:, :count]


def _take(cells: Tensor, indices: Tensor) -> Tensor:
    """Rows of `(B, N, C)` at `(B, I)`."""
    return cells.gather(1, indices.unsqueeze(-1).expand(-1, -1, cells.shape[-1]))
