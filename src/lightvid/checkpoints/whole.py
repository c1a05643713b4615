"""Networks for use as they are, whose files must hold every tensor: what is left as it was drawn answers anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from lightvid.checkpoints.loading import load
from lightvid.checkpoints.report import CheckpointReport
from lightvid.errors import CheckpointError
from lightvid.networks import InpaintingGenerator
from lightvid.networks.i3d import I3D

Source = str | Path | Mapping[str, Any]


def load_generator(name: str | None, source: Source) -> InpaintingGenerator:
    """A network that fills holes, whole.

    Args:
        name: of a published checkpoint, see `load`; None for a run's, whatever its generator.
        source: a file, or what such a file holds.

    Raises:
        CheckpointError: see `load`; no generator, or tensors of it that the file does not have.
    """
    network = _whole(name or "inpaint", source)
    if not isinstance(network, InpaintingGenerator):
        raise CheckpointError(f"{_label(source)}: {type(network).__name__} is no network that fills holes")
    return network


def load_i3d(source: Source, *, batch_statistics: bool) -> I3D:
    """The network of VFID, whole.

    Args:
        source: see `load_generator`.
        batch_statistics: see `I3D`.

    Raises:
        CheckpointError: see `load`; tensors of the network that the file does not have.
    """
    network = _whole("i3d", source, batch_statistics=batch_statistics)
    assert isinstance(network, I3D)
    return network


def _whole(name: str, source: Source, **options: Any) -> nn.Module:
    network = load(name, source, **options)
    report = network.checkpoint_report
    assert isinstance(report, CheckpointReport)
    report.require_whole(_label(source))
    return network


def _label(source: Source) -> str:
    return "the given state" if isinstance(source, Mapping) else str(source)
