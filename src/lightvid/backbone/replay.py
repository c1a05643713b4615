"""The conditions under which a branch ran, so that it can be run again with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states


class ForwardConditions:
    """The random state and the autocast settings at the time of construction.

    The backward pass runs outside of the forward pass's autocast region, and later in the random stream.
    """

    def __init__(self, x: Tensor) -> None:
        self._kind = x.device.type
        self._cpu_state = torch.get_rng_state()
        self._devices, self._device_states = ([], []) if self._kind in ("cpu", "meta") else get_device_states(x)
        self._autocast = [
            (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
            for kind in sorted({"cpu", self._kind})
            if torch.amp.is_autocast_available(kind)
        ]

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The same autocast, without its cache of cast weights.

        Not every PyTorch version's cache tells weights cast under `no_grad` from others; one that does not would hand
        the graph of a later call weights that take no gradient.
        """
        with ExitStack() as stack:
            for kind, enabled, dtype in self._autocast:
                stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False))
            yield

    @contextmanager
    def replay(self) -> Iterator[None]:
        """The same autocast and the same random numbers; the random stream outside goes on as if not used."""
        device_type = self._kind if self._devices else "cuda"
        with torch.random.fork_rng(self._devices, device_type=device_type), self.autocast():
            torch.set_rng_state(self._cpu_state)
            if self._devices:
                set_device_states(self._devices, self._device_states, device_type=self._kind)
            yield
