"""Exact counts of bytes and floating point operations, the same on every device including meta.

The bytes are those that tensors ask for. A device's allocator adds rounding, fragmentation and kernel workspaces.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


def saved_bytes(function: Callable[[], object], *, exclude: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps for the backward pass of a forward pass.

    Args:
        function: runs the forward pass.
        exclude: tensors that exist anyway, such as parameters and inputs; their memory is not counted.
    """
    excluded = {tensor.untyped_storage()._cdata for tensor in exclude}
    kept: dict[int, torch.UntypedStorage] = {}  # holding the storages keeps their ids from being used again

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in excluded:
            kept[storage._cdata] = storage
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(function: Callable[[], object]) -> int:
    """Most bytes that tensors made during the call held at one moment.

    Gradients of parameters are counted where the call makes them; tensors that existed before are not. On meta tensors
    operators of this library are counted with their plain implementation, and without looking at masks.

    Args:
        function: runs a forward pass, a whole training step, ...
    """
    with _AllocationCounter() as counter:
        function()
    return counter.peak


def flops(function: Callable[[], object]) -> int:
    """Floating point operations of matrix products, convolutions and attention; one multiply-add counts as two.

    Operators of this library count as their registered formulas say, however they are computed.

    Args:
        function: runs a forward pass, a whole training step, ...
    """
    with _FlopCounter() as counter:
        function()
    return counter.total


class _AllocationCounter(TorchDispatchMode):
    """Follows every storage that an operation returns until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            self._follow(storage, 0)
        if func.namespace == "lightvid":
            with self:  # what an operator of this library holds while it works counts, too
                result = _call_implementation(func, args, kwargs or {})
        else:
            result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._follow(storage, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _follow(self, storage: torch.UntypedStorage, nbytes: int) -> None:
        key = storage._cdata
        if key not in self._known:
            self._known.add(key)
            self.live += nbytes
            weakref.finalize(storage, self._freed, key, nbytes)

    def _freed(self, key: int, nbytes: int) -> None:
        self._known.discard(key)
        self.live -= nbytes


class _FlopCounter(TorchDispatchMode):
    """Sums the formulas registered with PyTorch, without the module hooks that its public counter adds."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func._overloadpacket
        if formula := flop_registry.get(packet) or _CPU_ATTENTION_FLOPS.get(packet):
            self.total += formula(*args, **kwargs, out_val=result)
        return result


def _call_implementation(func: Any, args: Any, kwargs: Any) -> Any:
    """Go to the operator's implementation for its device directly: a plain call would come back to the counter."""
    device = next(leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    keys = {"meta": torch._C.DispatchKey.Meta, "cuda": torch._C.DispatchKey.CUDA}
    key = keys.get(device.type, torch._C.DispatchKey.CPU)
    return func.redispatch(torch._C.DispatchKeySet(key), *args, **kwargs)


# PyTorch has formulas for CUDA's attention kernels only.
_CPU_ATTENTION_FLOPS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, **__: sdpa_flop_count(q.shape, k.shape, v.shape)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)
    ),
}


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
