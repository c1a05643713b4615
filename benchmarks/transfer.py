"""Does inpainting teach what instance segmentation needs? `python benchmarks/transfer.py [--steps 400 --seeds 3]`.

Networks for instances are trained on the sample data with one budget and one recipe, `task=vis` with the backbone of
`task=joint`: from scratch, and from networks that were trained to inpaint the same videos before. These give the
backbone ("backbone"), or the backbone and the image stem, which then was a part of the inpainting network's stem
("backbone and stem"). Seed s begins with the inpainting network of seed s; the order of the data is that of the seed.

Every run leaves a folder under --out, and one that is finished is not done again: an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from lightvid.configuration import compose
from lightvid.training import train

STARTS = ("scratch", "backbone", "backbone and stem")
MEASURED = ("AP", "AP50", "training loss")
SHORTEST = 64  # pixels of a frame's shorter side: AP is lower than at 96, and three seeds take minutes

# One validation, at the end; no pictures, and no record of W&B.
BUDGET = (
    "trainer.val_check_interval=${trainer.max_steps}",
    "callbacks.pictures=null",
    "callbacks.progress=null",
    "loggers.wandb=null",
    "callbacks.last.every_n_train_steps=50",
    "data.workers=0",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of each run of instance segmentation")
    parser.add_argument("--pretrain-steps", type=int, default=120, help="of each run of inpainting")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), help="which to compare")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="folder of the runs")
    parser.add_argument("--root", default="data/sample", help="the sample data, written there if it is missing")
    parser.add_argument("overrides", nargs="*", help="key=value for the runs that do not start from scratch")
    options = parser.parse_args()
    rows: dict[str, list[dict[str, float]]] = {start: [] for start in options.starts}
    for seed in range(options.seeds):
        for start in options.starts:
            rows[start].append(measure(start, seed, options))
    Console(width=120).print(summary(rows, options))


def measure(start: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Train one network for instances and say what came of it."""
    shared = [f"out={options.out}", f"data.root={options.root}", f"seed={seed}", *BUDGET]
    extra: list[str] = []
    if start != "scratch":
        stem = inpainting_stem() if start == "backbone and stem" else []
        name = f"pretrained{'-stem' if stem else ''}-{options.pretrain_steps}-{seed}"
        pretrained = finished([*inpainting(), *stem, *shared, f"trainer.max_steps={options.pretrain_steps}"], name)
        # A stem that was not trained must not wait for what was.
        stem_too = f"task.pretrained_stem={str(bool(stem)).lower()}"
        extra = [f"init_from={pretrained}", stem_too, *options.overrides]
    budget = [str(options.steps)] if start == "scratch" else [f"{options.pretrain_steps}-{options.steps}"]
    name = "-".join([start.replace(" ", "-"), *budget, *extra[2:], str(seed)])
    began = time.perf_counter()
    run = finished([*instances(), *shared, f"trainer.max_steps={options.steps}", *extra], name.replace("/", "_"))
    results = json.loads((run / "results.json").read_text())["lightvid"]
    row = {"AP": results["AP"], "AP50": results["AP50"], "training loss": last_losses(run)}
    shown = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
    print(f"seed {seed}, {start}: {shown} ({time.perf_counter() - began:.0f} s)", flush=True)
    return row


def finished(arguments: Sequence[str], name: str) -> Path:
    """The folder of a run, which is trained, or trained further, if it is not finished."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    folder = Path(settings["out"]) / settings["task"] / name
    if (folder / "results.json").exists():
        return folder
    begun = (folder / "checkpoints" / "last.ckpt").exists()
    with contextlib.redirect_stdout(io.StringIO()):  # each run would print a table of its own
        return train([f"resume={folder}"] if begun else [*arguments, f"name={name}"])


def instances() -> list[str]:
    """Arguments of a run for instances."""
    return ["task=vis", "trainer=cpu", f"clip.height={SHORTEST}", "data.batch_size=2", *backbone()]


def inpainting() -> list[str]:
    """Arguments of a run that inpaints, with the same backbone."""
    channels = joint_tree()["backbone"]["init_args"]["channels"]
    network = "task.network"
    return [
        "task=inpaint",
        "trainer=cpu",
        *backbone(),
        f"{network}.stem.channels={channels}",
        f"{network}.head.channels={channels}",
        f"{network}.head.hidden=16",
    ]


def inpainting_stem() -> list[str]:
    """Arguments that put the image stem of the other task into the stem of an inpainting network."""
    tree = joint_tree("backbone=deformable,shared_stem")["task"]["init_args"]["inpainting"]["init_args"]["network"]
    stem = tree["init_args"]["stem"]
    return [f"task.network.stem.class_path={stem['class_path']}", f"task.network.stem.init_args={in_line(stem)}"]


def backbone() -> list[str]:
    """Arguments that choose the backbone of joint runs."""
    return [f"backbone.init_args={in_line(joint_tree()['backbone'])}"]


def joint_tree(*arguments: str) -> dict[str, Any]:
    """The configuration of joint runs."""
    return compose(["task=joint", *arguments])


def in_line(part: dict[str, Any]) -> str:
    """The arguments of a part as one value, in JSON, which is YAML."""
    return json.dumps(part["init_args"])


def last_losses(run: Path) -> float:
    """Mean of the training loss over the last tenth of the run's logged steps."""
    with (run / "metrics.csv").open() as stream:
        losses = [float(row["loss/total"]) for row in csv.DictReader(stream) if row.get("loss/total")]
    return mean(losses[-max(1, len(losses) // 10) :])


def summary(rows: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> Table:
    """Mean and standard deviation over the seeds."""
    budget = f"{options.steps} steps from each start, {options.pretrain_steps} of inpainting before"
    table = Table(title=f"Instance segmentation of the sample data, {options.seeds} seeds: {budget}")
    for column in ("start", *MEASURED):
        table.add_column(column, justify="left" if column == "start" else "right")
    for start, measured in rows.items():
        cells = [[row[name] for row in measured] for name in MEASURED]
        table.add_row(start, *(spread(values) for values in cells))
    return table


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
