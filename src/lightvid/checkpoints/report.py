"""Putting tensors into a network, and saying what fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from lightvid.errors import CheckpointError


@dataclass(frozen=True)
class CheckpointReport:
    """Names of tensors.

    Attributes:
        matched: of the network, filled from the file.
        missing: of the network, not in the file, so they keep their initial values.
        unexpected: of the file, not known to the network, so they are left out.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]

    @property
    def complete(self) -> bool:
        """Whether the file and the network hold the same tensors."""
        return not self.missing and not self.unexpected

    def __str__(self) -> str:
        text = f"{len(self.matched)} tensors matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        examples = ", ".join([*self.missing[:2], *self.unexpected[:2]])
        return f"{text} ({examples}, ...)" if examples else text


def fill(
    network: nn.Module, tensors: Mapping[str, Tensor], source: str, *, names: Mapping[str, str] | None = None
) -> CheckpointReport:
    """Copy tensors into a network.

    Args:
        network: changed in place.
        tensors: by their names in the file. Neighbouring dimensions may be joined in one of both: a convolution's
            weight fits the linear layer on its patches.
        source: what to call the file in messages.
        names: name in the file -> name in the network; None where they are the same.

    Raises:
        CheckpointError: nothing matches, or a shape differs; the network is then unchanged.
    """
    own = network.state_dict()
    renamed = {name: names.get(name) if names is not None else name for name in tensors}
    found = {mine: _reshape(mine, tensors[name], own[mine], source) for name, mine in renamed.items() if mine in own}
    unexpected = [name for name, mine in renamed.items() if mine not in own]
    if not found:
        expected = next(iter(names or own), "nothing")
        raise CheckpointError(
            f"{source}: none of its {len(tensors)} tensors belongs to this network"
            f" (expected names such as {expected}, found {', '.join(list(tensors)[:2]) or 'none'})"
        )
    network.load_state_dict(found, strict=False)
    return CheckpointReport(list(found), [name for name in own if name not in found], unexpected)


def _reshape(name: str, tensor: Tensor, like: Tensor, source: str) -> Tensor:
    if tensor.shape != like.shape and not (_joins(tensor.shape, like.shape) or _joins(like.shape, tensor.shape)):
        raise CheckpointError(
            f"{source}: {name} has the shape {tuple(tensor.shape)}, the network expects {tuple(like.shape)}"
        )
    return tensor.reshape(like.shape)


def _joins(finer: Sequence[int], coarser: Sequence[int]) -> bool:
    """Whether the coarser shape is the finer one with neighbouring dimensions joined."""
    sizes = [size for size in finer if size != 1]
    for size in coarser:
        joined = 1
        while joined < size and sizes:
            joined *= sizes.pop(0)
        if joined != size:
            return False
    return not sizes
