"""Mixed precision where autocast's own rules cost memory or accuracy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import reduce

import torch
from torch import Tensor


def cast_for_autocast(x: Tensor) -> Tensor:
    """Cast to the dtype that autocast would use, once.

    Autocast casts an input again for every operation that takes it, and autograd keeps each of these copies.
    """
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind) and x.dtype == torch.float32:
        return x.to(torch.get_autocast_dtype(kind))
    return x


def working_dtype(*tensors: Tensor | None) -> torch.dtype:
    """The dtype to compute in where float32 is the least: that of the widest tensor, at least float32."""
    given = (tensor.dtype for tensor in tensors if tensor is not None)
    return reduce(torch.promote_types, given, torch.float32)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A region in which operations keep the dtype of their inputs."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
