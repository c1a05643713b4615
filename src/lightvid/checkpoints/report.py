"""Putting tensors into a network, and saying what fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from lightvid.errors import CheckpointError


@dataclass(frozen=True)
class CheckpointReport:
    """Names of tensors.

    Attributes:
        matched: of the network, filled from the file.
        missing: of the network, not in the file, so they keep their initial values.
        unexpected: of the file, not known to the network, so they are left out. Names of detectors are those of VisTR.
        mismatched: of the network, in the file in another shape, so they keep their initial values, too.
    """

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether the file and the network hold the same tensors."""
        return not (self.missing or self.unexpected or self.mismatched)

    def require_whole(self, source: str) -> None:
        """Refuse a network that keeps initial values, for uses that do not train it.

        Args:
            source: what to call the file in messages.

        Raises:
            CheckpointError: naming the first tensor that the file does not fill.
        """
        if lacking := [*self.missing, *self.mismatched]:
            raise CheckpointError(
                f"{source}: does not hold the whole network (without {lacking[0]}, {len(lacking)} missing in all):"
                " give a complete file of this network"
            )

    def __str__(self) -> str:
        text = f"{len(self.matched)} tensors matched, {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        if self.mismatched:
            text = f"{text}, {len(self.mismatched)} of another shape"
        examples = ", ".join([*self.missing[:2], *self.unexpected[:2], *self.mismatched[:2]])
        return f"{text} ({examples}, ...)" if examples else text


def fill(
    network: nn.Module,
    tensors: Mapping[str, Tensor],
    source: str,
    *,
    names: Mapping[str, str] | None = None,
    skip_mismatched: bool = False,
) -> CheckpointReport:
    """Copy tensors into a network.

    Args:
        network: changed in place.
        tensors: by their names in the file. Neighbouring dimensions may be joined in one of both: a convolution's
            weight fits the linear layer on its patches.
        source: what to call the file in messages.
        names: name in the file -> name in the network; None where they are the same.
        skip_mismatched: leave tensors of another shape out instead of refusing the file.

    Raises:
        CheckpointError: nothing matches, or a shape differs; the network is then unchanged.
    """
    own = network.state_dict()
    found: dict[str, Tensor] = {}
    unexpected, mismatched = [], []
    for name, tensor in tensors.items():
        mine = names.get(name) if names is not None else name
        if mine is None or mine not in own:
            unexpected.append(name)
        elif fits(tensor.shape, own[mine].shape):
            found[mine] = tensor.reshape(own[mine].shape)
        elif skip_mismatched:
            mismatched.append(mine)
        else:
            shape, expected = tuple(tensor.shape), tuple(own[mine].shape)
            raise CheckpointError(f"{source}: {mine} has the shape {shape}, the network expects {expected}")
    if not found:
        example = next(iter(names or own), "nothing")
        raise CheckpointError(
            f"{source}: none of its {len(tensors)} tensors belongs to this network"
            f" (expected names such as {example}, found {', '.join(list(tensors)[:2]) or 'none'})"
        )
    network.load_state_dict(found, strict=False)
    return CheckpointReport(
        list(found), [n for n in own if n not in found and n not in mismatched], unexpected, mismatched
    )


def fits(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Whether shapes are equal, but for neighbouring dimensions that are joined in one of both."""
    return shape == other or _joins(shape, other) or _joins(other, shape)


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
