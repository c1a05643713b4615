"""Frame-wise functions without the intermediate maps of all frames at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# One frame of 60 x 108 x 256 features: enough work to fill a device, few enough bytes not to show in the peak.
ELEMENTS_AT_ONCE = 2**21


def map_frames(
    function: Callable[[Tensor], Tensor], frames: Tensor, *, out: Tensor | None = None, recompute: bool = False
) -> Tensor:
    """Apply a function that treats each frame on its own.

    Without gradients the frames pass a few at a time into one result, so that the function's intermediate maps are
    those of a few frames. With gradients it is a plain call, because autograd keeps the maps anyway, unless they are
    to be computed again.

    Args:
        function: `(n, C, H, W) -> (n, C', H', W')` for any n.
        frames: `(N, C, H, W)`.
        out: where to write a result that needs no gradient; it may be `frames` itself if the shapes are equal.
        recompute: with gradients, keep only `frames` and compute again in the backward pass, a few frames at a time.

    Returns:
        `(N, C', H', W')`.
    """
    if torch.compiler.is_exporting():
        return function(frames)  # a loop would fix the number of frames in the program
    parts = frames.split(max(1, ELEMENTS_AT_ONCE // frames[0].numel()))
    if torch.is_grad_enabled():
        if not recompute:
            return function(frames)
        results = [checkpoint(function, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        return torch.cat(results)
    start = 0
    for part in parts:
        result = function(part)
        if out is None:
            out = _empty(result, len(frames))
        out[start : start + len(part)] = result
        start += len(part)
    assert out is not None
    return out


def _empty(like: Tensor, count: int) -> Tensor:
    shape = (count, *like.shape[1:])
    memory_format = torch.contiguous_format if like.is_contiguous() else torch.channels_last
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
