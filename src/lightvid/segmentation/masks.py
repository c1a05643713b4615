"""From mask logits at the network's resolution to run lengths at the video's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.annotations import rle
from lightvid.annotations.rle import RLE

PIXELS_AT_ONCE = 2**23  # 32 MiB of float32


def encode_masks(
    logits: Tensor, size: tuple[int, int], threshold: float, *, extent: tuple[float, float] = (1.0, 1.0)
) -> list[RLE | None]:
    """Enlarge masks bilinearly in one step, cut them at a threshold and encode them.

    A few masks are enlarged at a time, so that memory stays small however many there are.

    Args:
        logits: `(N, h, w)`.
        size: height and width of the video.
        threshold: what a pixel's logit must exceed.
        extent: the part of the masks' height and width, from the top left, that shows the frame; the rest is left over
            where the last cells reach beyond it.

    Returns:
        N run lengths, None for masks that are empty.
    """
    height, width = size
    encoded: list[RLE | None] = [None] * len(logits)
    # Interpolated values do not exceed what they come from, so empty masks need no enlarging.
    filled = (logits > threshold).flatten(1).any(1).nonzero()[:, 0]
    at_once = max(1, PIXELS_AT_ONCE // (height * width))
    grid = _transposed_grid(size, extent, logits.device)
    for part in (filled[first : first + at_once] for first in range(0, len(filled), at_once)):
        planes = F.grid_sample(logits[part].mT[None].float(), grid, padding_mode="border", align_corners=False)[0]
        for index, plane in zip(part.tolist(), (planes > threshold).byte().cpu().numpy(), strict=True):
            if np.any(plane):
                encoded[index] = rle.encode(plane.T)
    return encoded


def _transposed_grid(size: tuple[int, int], extent: tuple[float, float], device: torch.device) -> Tensor:
    """Where `grid_sample` finds each pixel, `(1, W, H, 2)`.

    Transposed, because run lengths go down the columns: they then lie one after the other in memory.
    """
    rows, columns = (
        (torch.arange(side, device=device) + 0.5) * (2 * part / side) - 1
        for side, part in zip(size, extent, strict=True)
    )
    return torch.stack(torch.meshgrid(rows, columns, indexing="xy"), -1)[None]
