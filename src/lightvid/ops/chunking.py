"""Frame-wise evaluation in bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def map_frames(function: Callable[[Tensor], Tensor], frames: Tensor, at_once: int = 2) -> Tensor:
    """Apply a function that treats every frame by itself.

    While gradients are recorded this is one plain call. Otherwise the frames go through `at_once` at a time and only the
    result is held whole, so that the temporaries of a deep function do not grow with the number of frames.

    Args:
        function: `(N, ...) -> (N, ...)`, row by row.
        frames: `(N, ...)`.
        at_once: how many frames one call sees when no gradient is recorded.
    """
    if torch.is_grad_enabled() or len(frames) <= at_once:
        return function(frames)
    result: Tensor | None = None
    for start in range(0, len(frames), at_once):
        part = function(frames[start : start + at_once])
        if result is None:
            result = _buffer(part, len(frames))
        result[start : start + at_once] = part
    assert result is not None
    return result


def _buffer(part: Tensor, length: int) -> Tensor:
    """An uninitialised tensor like `part`, `length` rows long, in the same memory format."""
    channels_last = part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty((length, *part.shape[1:]), dtype=part.dtype, device=part.device, memory_format=layout)
