"""From a checkpoint's name and source to a network."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightvid.checkpoint_reading import Tensors, read, tensors_of
from lightvid.checkpoints.formats import FORMATS, Format, Task
from lightvid.checkpoints.report import CheckpointReport, fill
from lightvid.checkpoints.runs import CONFIGURATION, load_run
from lightvid.errors import CheckpointError

logger = logging.getLogger(__name__)

# Of checkpoints of runs with this task, whatever their network.
RUNS: tuple[Task, ...] = ("inpaint", "vis")


def load(name: str, source: str | Path | Mapping[str, Any], **options: Any) -> nn.Module:
    """Load a network from a published checkpoint, or from one that a run of this project wrote.

    Nothing in a file is ever executed. What matched is logged, and attached as `network.checkpoint_report`.

    Args:
        name: "sttn", "dstt", "fuseformer", "e2fgvi" or "e2fgvi_hq" (generators); "t_patchgan" (the discriminator);
            "spynet" (optical flow); "vistr_r50", "vistr_r101" or "deformable_vistr_r50" (video instance segmentation;
            files of DETR and Deformable DETR fill what they fit); "inpaint" and "vis" (a run's). For a run's
            checkpoint it chooses the part, and the network is the one that the run's configuration describes; an
            averaged one is preferred.
        source: a file, or what such a file holds.
        **options: of the network (see `lightvid.networks`), for published checkpoints. They go over what a file says;
            for `vistr`, what then has another shape, such as the class head after `classes=5`, keeps its start.

    Returns:
        The network in evaluation mode, on the CPU, with a `CheckpointReport` as `checkpoint_report`. Networks for video
        instance segmentation also have the attributes that `SegmenterOptions` reads.

    Raises:
        CheckpointError: an unknown name, no such file, not a checkpoint, or tensors that do not fit.
    """
    if name not in RUNS and name not in FORMATS:
        raise CheckpointError(_unknown(name))
    form = FORMATS.get(name)
    label = "the given state" if isinstance(source, Mapping) else str(source)
    content = source if isinstance(source, Mapping) else _read(Path(source))
    if CONFIGURATION in content:
        task: Task = form.task if form else "vis" if name == "vis" else "inpaint"
        network, report = load_run(content, label, task=task, role=form.role if form else "network")
        if options:
            raise CheckpointError(f"{label}: describes its own network, so {', '.join(options)} cannot be given")
    elif form is None:
        published = ", ".join(
            known for known, other in FORMATS.items() if other.task == name and other.role == "network"
        )
        raise CheckpointError(f"{label}: no checkpoint of a run; published ones load as {published}")
    else:
        network, report = _load_published(form, tensors_of(content, label), label, options)
    logger.log(logging.INFO if report.complete else logging.WARNING, "%s: %s", label, report)
    network.checkpoint_report = report  # type: ignore[assignment]
    return network.eval()


def _read(path: Path) -> Mapping[str, Any]:
    for name in ("best.ckpt", "last.ckpt"):
        if (file := path / "checkpoints" / name).is_file():
            raise CheckpointError(f"{path}: is the folder of a run: give a file of it, {file}")
    return read(path)


def _unknown(name: str) -> str:
    choices = [*FORMATS, *RUNS]
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown checkpoint format '{name}': {hint}choose one of {', '.join(choices)}"


def _load_published(
    form: Format, tensors: Tensors, label: str, options: dict[str, Any]
) -> tuple[nn.Module, CheckpointReport]:
    tensors = form.convert(tensors)
    network = form.create(tensors, **options)
    report = fill(network, tensors, label, names=form.names(network), skip_mismatched=form.task == "vis")
    if form.task == "inpaint" and report.missing and report.unexpected:
        _refuse_another_format(form, tensors, label)
    return network, report


def _refuse_another_format(form: Format, tensors: Tensors, label: str) -> None:
    """Answer a file that is whole, but of another network for inpainting."""
    for name, other in FORMATS.items():
        if other is not form and other.task == "inpaint":
            with torch.device("meta"):
                known = other.names(other.create(tensors))
            if set(tensors) <= set(known):
                raise CheckpointError(f'{label}: is a checkpoint of another network: load("{name}", ...)')
