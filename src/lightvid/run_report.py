"""What a run ends with: its table, and what its folder holds."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightvid.building import Run
from lightvid.configuration.files import CONFIG_FILE

RESULTS_FILE = "results.json"


def report(run: Run, folder: Path, *, save: bool = True) -> dict[str, dict[str, float]]:
    """Print the last validation as a table, the network beside the baselines.

    Args:
        run: which has been validated.
        folder: of the run.
        save: write the table as `results.json`, and print what the folder holds.

    Returns:
        The metrics of each row; on all processes.
    """
    rows: dict[str, dict[str, float]] = {}
    for key, value in run.trainer.callback_metrics.items():
        group, _, rest = key.partition("/")
        if group == "val":
            rows.setdefault("lightvid", {})[rest] = round(float(value), 4)
        elif group == "baseline":
            name, _, metric = rest.rpartition("/")
            rows.setdefault(name, {})[metric] = round(float(value), 4)
    if not run.trainer.is_global_zero:
        return rows
    Console().print(_table(rows))
    if save:
        _write_results(rows, folder / RESULTS_FILE)
        print(_contents(folder))
    return rows


def resume_command(folder: Path) -> str:
    """With which a run goes on, to be copied into a shell."""
    return f"make train RESUME={shlex.quote(str(folder))}"


def _write_results(rows: dict[str, dict[str, float]], path: Path) -> None:
    try:
        path.write_text(json.dumps(rows, indent=1) + "\n")
    except OSError as error:  # the run is whole without, and its table is on the screen
        warnings.warn(f"{path}: cannot be written ({error.strerror})", stacklevel=2)


def _table(rows: dict[str, dict[str, float]]) -> Table:
    columns = list(dict.fromkeys(metric for row in rows.values() for metric in row))
    table = Table("", *columns)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[metric]:.4g}" if metric in row else "" for metric in columns))
    return table


def _contents(folder: Path) -> str:
    described = {
        "checkpoints/best.ckpt": "the best validation",
        "checkpoints/last.ckpt": "resume from here: " + resume_command(folder),
        CONFIG_FILE: "the whole configuration; run it again: make train CONFIG="
        + shlex.quote(str(folder / CONFIG_FILE)),
        "metrics.csv": "losses, learning rates and validation metrics",
        RESULTS_FILE: "the table above",
        "pictures": "results beside the truth, at each validation",
        "videos": "the same, moving",
        "wandb": "W&B; send an offline run with: .venv/bin/wandb sync " + str(folder / "wandb" / "offline-run-*"),
    }
    lines = [f"  {name:<22} {text}" for name, text in described.items() if (folder / name).exists()]
    return "\n".join([f"{folder}/", *lines])
