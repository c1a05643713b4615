"""`lightvid export`: a trained network as a program of torch.export, in one file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvid.commands.arguments import Parser, name_and_file, positive, size
from lightvid.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from torch import nn

    from lightvid.checkpoints.report import CheckpointReport
    from lightvid.exporting import Description

DESCRIPTION = """Write a trained network as a program of torch.export, check it against the network on random frames,
and print the largest difference. Inpainting: masked frames (B, T, 3, H, W) in [-1, 1], 0 in the holes, and masks
(B, T, 1, H, W) to frames. Instances: frames (B, T, 3, H, W) with ImageNet's mean and deviation to logits, boxes and
masks."""
PUBLISHED_SIZE = {"inpaint": (240, 432), "vis": (300, 540)}
PUBLISHED_FRAMES = {"inpaint": 5, "vis": 36}


def run(arguments: list[str]) -> None:
    """Export a network.

    Args:
        arguments: of the command line, after `export`.

    Raises:
        LightvidError: a mistake in them, an unsuitable checkpoint, a network whose program answers differently.
    """
    options = _parse(arguments)
    from lightvid import exporting

    network, clip = _network(options)
    frame_size, frames = options.size or clip[:2], options.frames or clip[2]
    program, description = exporting.export(network, size=frame_size, frames=frames, dynamic=options.dynamic)
    largest = exporting.save(program, description, options.out, network=network)
    print(_report(options.out, description, largest, dynamic=options.dynamic))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid export", description=DESCRIPTION, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("checkpoint", nargs="?", type=Path, help="a run's folder (its best checkpoint) or a checkpoint")
    source.add_argument("--published", type=name_and_file, metavar="NAME=FILE", help="such as sttn=sttn.pth")
    parser.add_argument("-o", "--out", type=_program_file, required=True, help="the program, a .pt2")
    parser.add_argument("--task", choices=("inpaint", "vis"), help="which network of a run with task=joint")
    parser.add_argument("--size", type=size, metavar="WxH", help="of the frames; as in training if not given")
    parser.add_argument("--frames", type=positive, help="of a clip; as in training if not given")
    parser.add_argument("--dynamic", action="store_true", help="leave the number of clips and frames open")
    return parser.parse_args(arguments)


def _program_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".pt2":
        raise argparse.ArgumentTypeError(f"expected the name of a .pt2 file, got '{text}'")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent}: no such folder")
    return path


def _network(options: argparse.Namespace) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network, whole, and height, width and frames of the clips it was trained with."""
    from lightvid.checkpoints import load
    from lightvid.checkpoints.formats import FORMATS

    if options.published is None:
        return _network_of_run(_file_of(options.checkpoint), options.task)
    name, file = options.published
    form = FORMATS.get(name)
    if form is not None and (form.task not in PUBLISHED_SIZE or form.role != "network"):
        raise ConfigurationError(f"--published {name}: neither a network for inpainting nor one for instances")
    network = load(name, file)
    assert form is not None
    _report_of(network).require_whole(str(file))
    return network, (*PUBLISHED_SIZE[form.task], PUBLISHED_FRAMES[form.task])


def _network_of_run(file: Path, task: str | None) -> tuple[nn.Module, tuple[int, int, int]]:
    from lightvid.checkpoint_reading import read
    from lightvid.checkpoints import load

    content = read(file)
    clip = _clip(content, task)
    if clip is None:
        raise CheckpointError(f"{file}: no checkpoint of a run; published ones are given by --published NAME=FILE")
    trained = content["lightvid_config"]["choice"]["task"]
    if trained not in (*PUBLISHED_SIZE, "joint"):
        raise CheckpointError(f"{file}: of a run with task={trained}; export knows task=inpaint, vis and joint")
    if task not in (None, trained) and trained != "joint":
        raise ConfigurationError(f"{file}: of a run with task={trained}: leave out --task {task}")
    if task is None and trained == "joint":
        raise ConfigurationError(f"{file}: of a run with two networks: add --task inpaint or --task vis")
    network = load(task or trained, file)
    _report_of(network).require_whole(str(file))
    return network, clip


def _clip(content: Mapping[str, Any], task: str | None) -> tuple[int, int, int] | None:
    """Height, width and frames of the clips in training; None where the checkpoint is of no run."""
    try:
        clip = content["lightvid_config"]["clip"]
        height, width, frames = int(clip["height"]), int(clip["width"]), int(clip["frames"])
        if task == "vis" and (shortest := clip.get("shortest")):  # of a joint run, whose tasks see other sizes
            height, width = int(shortest), round(int(shortest) * width / height)
        return height, width, frames
    except (KeyError, TypeError, ValueError):
        return None


def _file_of(path: Path) -> Path:
    for name in ("best.ckpt", "last.ckpt"):
        if (file := path / "checkpoints" / name).is_file():
            return file
    if path.is_dir():
        raise CheckpointError(f"{path}: no run with a checkpoint in it")
    return path


def _report_of(network: nn.Module) -> CheckpointReport:
    return network.checkpoint_report  # type: ignore[return-value]


def _report(out: Path, description: Description, largest: float, *, dynamic: bool) -> str:
    batch, frames, _, height, width = description.shape
    sides = {"batch": f"batch {batch}", "frames": f"{frames} frames"}
    given = ", ".join(f"any {name}" if name in description.free else side for name, side in sides.items())
    lines = [f"{out}: {given}, {width}x{height}; largest difference to the network {largest:.2g}"]
    if dynamic and (kept := [name for name in sides if name not in description.free]):
        lines.append(f"kept as they are, for this network's program depends on them: {', '.join(kept)}")
    if description.operators:
        lines.append(f"holds {', '.join(description.operators)}: import lightvid.ops before it is loaded")
    return "\n".join(lines)
