"""From a checkpoint's name and source to a network."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from lightvid.checkpoints import dstt, fuseformer, sttn, t_patchgan
from lightvid.checkpoints.building import build
from lightvid.checkpoints.reading import Tensors, read, tensors_of
from lightvid.checkpoints.report import CheckpointReport, fill
from lightvid.errors import CheckpointError

logger = logging.getLogger(__name__)

FORMATS: dict[str, ModuleType] = {"dstt": dstt, "fuseformer": fuseformer, "sttn": sttn, "t_patchgan": t_patchgan}

# The configuration in checkpoints of this project's runs.
CONFIGURATION = "lightvid_config"


def load(name: str, source: str | Path | Mapping[str, Any], **options: Any) -> nn.Module:
    """Load a network from a published checkpoint, or from one that a run of this project wrote.

    Nothing in a file is ever executed. What matched is logged, and attached as `network.checkpoint_report`.

    Args:
        name: "sttn", "dstt" or "fuseformer" (generators), or "t_patchgan" (the discriminator). For a run's checkpoint
            it chooses the part, and the network is the one that the run's configuration describes; an averaged
            generator is preferred.
        source: a file, or what such a file holds.
        **options: of the network (see `lightvid.networks`), for published checkpoints.

    Returns:
        The network in evaluation mode, on the CPU, with a `CheckpointReport` as `checkpoint_report`.

    Raises:
        CheckpointError: an unknown name, no such file, not a checkpoint, or tensors that do not fit.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(FORMATS)}"
        raise CheckpointError(f"unknown checkpoint format '{name}': {hint}")
    label = "the given state" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else read(Path(source))
    if CONFIGURATION in content:
        if options:
            raise CheckpointError(f"{label}: describes its own network, so {', '.join(options)} cannot be given")
        network, report = _from_run(FORMATS[name].ROLE, content, label)
    else:
        network, report = _from_published(FORMATS[name], tensors_of(content, label), label, options)
    logger.log(logging.INFO if report.complete else logging.WARNING, "%s: %s", label, report)
    network.checkpoint_report = report  # type: ignore[assignment]
    return network.eval()


def _from_published(
    form: ModuleType, tensors: Tensors, label: str, options: dict[str, Any]
) -> tuple[nn.Module, CheckpointReport]:
    network = form.create(tensors, **options)
    report = fill(network, tensors, label, names=form.names(network))
    if report.missing and report.unexpected:
        _refuse_another_format(form, tensors, label)
    return network, report


def _refuse_another_format(form: ModuleType, tensors: Tensors, label: str) -> None:
    """Answer a file that is whole, but of another network."""
    for name, other in FORMATS.items():
        if other is not form:
            with torch.device("meta"):
                known = other.names(other.create(tensors))
            if set(tensors) <= set(known):
                raise CheckpointError(f'{label}: is a checkpoint of another network: load("{name}", ...)')


def _from_run(role: str, content: Mapping[str, Any], label: str) -> tuple[nn.Module, CheckpointReport]:
    try:
        tree = content[CONFIGURATION]["task"]["init_args"][role]
        state: Mapping[str, Tensor] = content["state_dict"]
    except (KeyError, TypeError):
        tree = None
    if not isinstance(tree, Mapping) or not isinstance(state, Mapping):
        raise CheckpointError(f"{label}: a checkpoint of a run, but it describes no {role}")
    network = build(tree)
    averaged = _below(state, f"{role}_ema.module.")
    return network, fill(network, averaged or _below(state, f"{role}."), label)


def _below(state: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
