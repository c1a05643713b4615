"""Triton kernels of the operators: imported only where they are used, so that nothing else needs Triton."""

from __future__ import annotations

from torch import Tensor
from torch.utils._triton import has_triton


def triton_is_usable(x: Tensor) -> bool:
    """Whether kernels run on this tensor's device: CUDA, with Triton installed and working."""
    return x.is_cuda and has_triton()
