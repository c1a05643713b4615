"""The start of a run: what fits of a trained network, of the same task or of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lightvid.checkpoint_reading import Tensors, read
from lightvid.checkpoints.formats import FORMATS, Task
from lightvid.checkpoints.loading import RUNS, load
from lightvid.checkpoints.report import CheckpointReport, fits
from lightvid.checkpoints.runs import CATEGORIES, CONFIGURATION, PARTS
from lightvid.errors import CheckpointError

# What networks of all tasks have; the rest of a network is the heads of its task.
COMMON = ("stem", "backbone")


def initialise(networks: Mapping[Task, nn.Module], source: str) -> TransferReport:
    """Fill networks with what fits of a trained one: the tensors of equal names and shapes.

    A network takes all that a trained network of its own task has, heads included, and of one of another task the
    backbone and the stem. An image stem inside an `ImageInpaintingStem` fits one that stands alone, and back. A deeper
    or shallower backbone takes the blocks that both have. Of runs with task=joint each network takes its own task's.

    Args:
        networks: task -> its network, changed in place.
        source: a run's folder (its best checkpoint, else its last) or one of its checkpoints, whose averaged weights
            are preferred; or NAME=FILE for a published checkpoint, see `lightvid.checkpoints.load`. A file is only
            read: nothing in it is executed.

    Raises:
        CheckpointError: no such file, not a checkpoint of networks, or nothing in it fits.
    """
    label, trained = _trained_networks(source)
    plans = {task: _fitting(network.state_dict(), _offer(trained, task)) for task, network in networks.items()}
    if not any(found for found, _ in plans.values()):
        wanted = next(iter(next(iter(networks.values())).state_dict()), "nothing")
        given = next(iter(next(iter(trained.values()))), "nothing")
        raise CheckpointError(
            f"{label}: nothing in it fits this network (expected names and shapes such as those of {wanted}, found"
            f" {given}): give init_from a run with the same backbone"
        )
    for task, (found, _) in plans.items():
        networks[task].load_state_dict(found, strict=False)
    prefixes = {task: f"{PARTS[task]}." if len(networks) > 1 else "" for task in networks}
    rows = [row for task, plan in plans.items() for row in _rows(prefixes[task], *plan)]
    return TransferReport(label, rows)


def locate(source: str) -> Path:
    """The file that `initialise` reads.

    Raises:
        CheckpointError: there is none.
    """
    _, path = _name_and_path(source)
    if not path.is_dir():
        if path.is_file():
            return path
        raise CheckpointError(f"{path}: no such run or checkpoint to start from (init_from=RUN, FILE or NAME=FILE)")
    for name in ("best.ckpt", "last.ckpt"):
        if (file := path / "checkpoints" / name).is_file():
            return file
    raise CheckpointError(f"{path}: a folder without checkpoints/best.ckpt or checkpoints/last.ckpt to start from")


@dataclass(frozen=True)
class TransferRow:
    """One part of a network, such as its backbone.

    Attributes:
        part: its name, for several networks with that of its task.
        report: names of its tensors.
        parameters: numbers that it took over.
    """

    part: str
    report: CheckpointReport
    parameters: int


@dataclass(frozen=True)
class TransferReport:
    """What a start took over, part by part."""

    label: str
    rows: list[TransferRow]

    def matched(self, part: str) -> bool:
        """Whether a part took over anything."""
        return any(row.part == part and row.report.matched for row in self.rows)

    def __str__(self) -> str:
        lines = [f"{self.label}: starting from it"]
        for row in self.rows:
            counts = {
                "of another shape": row.report.mismatched,
                "missing": row.report.missing,
                "left out": row.report.unexpected,
            }
            others = [f"{len(names)} {what} ({names[0]}, ...)" for what, names in counts.items() if names]
            matched = f"{len(row.report.matched)} matched ({row.parameters:,} parameters)"
            lines.append(f"  {row.part:<26} {', '.join([matched, *others])}")
        return "\n".join(lines)


def _trained_networks(source: str) -> tuple[str, dict[Task, Tensors]]:
    """What to call the source, and by task what it holds."""
    name, _ = _name_and_path(source)
    file = locate(source)
    if name in FORMATS:
        form = FORMATS[name]
        if form.task not in RUNS or form.role != "network":
            raise CheckpointError(f"{source}: {name} is no network for inpainting or instances to start from")
        return str(file), {form.task: _of_published(name, file)}
    content = read(file)
    if CONFIGURATION not in content or not isinstance(content.get("state_dict"), Mapping):
        published = ", ".join(known for known, form in FORMATS.items() if form.task in RUNS and form.role == "network")
        raise CheckpointError(
            f"{file}: no checkpoint of a run; published ones: init_from=NAME=FILE, NAME one of {published}"
        )
    networks = _of_run(content["state_dict"], has_categories=CATEGORIES in content)
    wanted = {task: tensors for task, tensors in networks.items() if tensors and name in ("", task)}
    if not wanted:
        raise CheckpointError(f"{file}: holds no network{f' of task={name}' if name else ''}")
    return str(file), wanted


def _name_and_path(source: str) -> tuple[str, Path]:
    """The format's name, "" for a run, and the path."""
    name, equals, file = source.partition("=")
    if equals and name in (*FORMATS, *RUNS):
        return name, Path(file).expanduser()
    path = Path(source).expanduser()
    if equals and not path.exists() and "/" not in name:
        raise CheckpointError(f"init_from={source}: no format '{name}': choose one of {', '.join([*FORMATS, *RUNS])}")
    return "", path


def _of_published(name: str, file: Path) -> Tensors:
    """The tensors that come from the file, without those of the network that it leaves at random."""
    network = load(name, file)
    report = network.checkpoint_report
    assert isinstance(report, CheckpointReport)
    state = network.state_dict()
    return {name: state[name] for name in report.matched}


def _of_run(state: Mapping[str, Tensor], *, has_categories: bool) -> dict[Task, Tensors]:
    joint = {task: _network(state, f"{part}.") for task, part in PARTS.items()}
    return joint if any(joint.values()) else {"vis" if has_categories else "inpaint": _network(state, "")}


def _network(state: Mapping[str, Tensor], prefix: str) -> Tensors:
    """A task's network, averaged where the run has averaged it."""
    for place in (f"{prefix}network_ema.module.", f"{prefix}network."):
        found = {name.removeprefix(place): value for name, value in state.items() if name.startswith(place)}
        if found:
            return found
    return {}


def _offer(trained: Mapping[Task, Tensors], task: Task) -> Tensors:
    """What a network of a task may take: all of its own task's, else what networks of all tasks have."""
    if task in trained:
        return trained[task]
    (tensors,) = trained.values()
    return {name: value for name, value in tensors.items() if name.startswith(tuple(f"{part}." for part in COMMON))}


def _fitting(own: Tensors, offered: Tensors) -> tuple[Tensors, CheckpointReport]:
    offered = _with_stem_names_of(own, offered)
    found = {
        name: value.reshape(own[name].shape)
        for name, value in offered.items()
        if name in own and fits(value.shape, own[name].shape)
    }
    return found, CheckpointReport(
        matched=list(found),
        missing=[name for name in own if name not in offered],
        unexpected=[name for name in offered if name not in own],
        mismatched=[name for name in offered if name in own and name not in found],
    )


def _with_stem_names_of(own: Iterable[str], offered: Tensors) -> Tensors:
    """Name an image stem as the network does: `stem.image.` inside an `ImageInpaintingStem`, else `stem.`."""
    alone, inside = "stem.", "stem.image."
    wanted, given = (any(name.startswith(inside) for name in names) for names in (own, offered))
    if wanted == given:
        return offered
    old, new = (inside, alone) if given else (alone, inside)
    return {name.replace(old, new, 1) if name.startswith(old) else name: value for name, value in offered.items()}


def _rows(prefix: str, found: Tensors, report: CheckpointReport) -> list[TransferRow]:
    """The report, part by part, in the network's order."""
    groups = (report.matched, report.missing, report.unexpected, report.mismatched)
    parts = dict.fromkeys([*COMMON, *(name.partition(".")[0] for names in groups for name in names)])
    rows = []
    for part in parts:
        split = CheckpointReport(*([name for name in names if name.startswith(f"{part}.")] for names in groups))
        if any((split.matched, split.missing, split.unexpected, split.mismatched)):
            rows.append(TransferRow(prefix + part, split, sum(found[name].numel() for name in split.matched)))
    return rows
