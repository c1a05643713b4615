"""Warping along optical flow, and where two opposite flows agree."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.ops.precision import without_autocast, working_dtype


def warp(
    x: Tensor,
    flow: Tensor,
    *,
    padding: Literal["zeros", "border"] = "zeros",
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Fetch, for every pixel, what lies where its flow points: `out[p] = x[p + flow[p]]`.

    Args:
        x: `(N, C, H, W)`.
        flow: `(N, 2, H, W)` in pixels, channel 0 = x.
        padding: what lies outside of `x`: zeros, or its border continued.
        mode: between pixels.

    Returns:
        `(N, C, H, W)` in the dtype of `x`; positions and weights are at least float32.
    """
    if x.dim() != 4 or flow.shape != (x.shape[0], 2, *x.shape[2:]):
        raise ValueError(f"expected x (N, C, H, W) and flow (N, 2, H, W), got {tuple(x.shape)}, {tuple(flow.shape)}")
    dtype = working_dtype(x, flow)
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device, dtype=dtype).view(-1, 1)
    columns = torch.arange(width, device=x.device, dtype=dtype)
    with without_autocast(x.device):
        positions = flow.to(dtype).unbind(1)
        across = (positions[0] + columns) * (2 / max(width - 1, 1)) - 1
        down = (positions[1] + rows) * (2 / max(height - 1, 1)) - 1
        grid = torch.stack((across, down), dim=-1)
        out = F.grid_sample(x.to(dtype), grid, mode=mode, padding_mode=padding, align_corners=True)
    return out.to(x.dtype)


def flows_agree(flow: Tensor, opposite: Tensor, *, relative: float = 0.01, absolute: float = 0.5) -> Tensor:
    """Where following a flow and coming back along the opposite one ends near the start, as where nothing hides.

    `|f + f'|^2 < relative * (|f|^2 + |f'|^2) + absolute` with f' the opposite flow where f points (Sundaram et al.,
    ECCV 2010, Eq. 5).

    Args:
        flow: `(N, 2, H, W)` in pixels, from the first frame to the second.
        opposite: from the second to the first.
        relative: part of the squared lengths.
        absolute: in squared pixels.

    Returns:
        `(N, 1, H, W)` bool; what the flow moves out of the frame does not agree.
    """
    back = warp(opposite, flow)
    height, width = flow.shape[2:]
    rows = torch.arange(height, device=flow.device).view(-1, 1) + flow[:, 1]
    columns = torch.arange(width, device=flow.device) + flow[:, 0]
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    lengths = flow.square().sum(1) + back.square().sum(1)
    close = (flow + back).square().sum(1) < relative * lengths + absolute
    return (close & inside).unsqueeze(1)
