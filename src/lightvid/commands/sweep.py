"""`lightvid sweep NAME_OR_FILE --count 10`: train with many values of some options, and compare."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightvid.commands.arguments import Parser, count, positive
from lightvid.errors import ConfigurationError
from lightvid.sweeps import Choice, Spec, choices, command_of, load_sweep

TABLE_FILE = "sweep.csv"


def run(arguments: list[str]) -> None:
    """Let W&B choose the values, or search here.

    Raises:
        ConfigurationError: wrong arguments, a wrong file, no login at W&B without --local, or no run that succeeded.
    """
    options, more = _parser().parse_known_args(arguments)
    if wrong := [argument for argument in more if "=" not in argument or argument.startswith("-")]:
        raise ConfigurationError(f"sweep: '{wrong[0]}' is neither an option nor of the form key=value")
    if named := [argument for argument in more if argument.startswith("name=")]:
        raise ConfigurationError(f"sweep: '{named[0]}': each run has a name of its own; --out says where they are")
    spec = load_sweep(options.sweep)
    spec["command"] = _with_arguments(spec["command"], more)
    if options.local:
        _search(spec, options.count, options.seed, Path(options.out))
    else:
        _let_wandb_choose(spec, options.count)


def _parser() -> Parser:
    parser = Parser(prog="lightvid sweep", description=__doc__)
    parser.add_argument("sweep", help="inpaint, vis, or a YAML file of W&B's form; key=value pairs go to every run")
    parser.add_argument("--count", type=positive, default=10, help="the most runs (%(default)s)")
    parser.add_argument("--local", action="store_true", help="without W&B's server: methods random and grid")
    parser.add_argument("--seed", type=count, default=0, help="of random values, with --local")
    parser.add_argument("--out", default="runs/sweep", help="folder for the runs, with --local (%(default)s)")
    return parser


def _with_arguments(command: list[Any], more: list[str]) -> list[Any]:
    """The command with more arguments before those that the sweep chooses."""
    place = command.index("${args_no_hyphens}") if "${args_no_hyphens}" in command else len(command)
    return [*command[:place], *more, *command[place:]]


def _let_wandb_choose(spec: Spec, count: int) -> None:
    import wandb

    try:
        logged_in = wandb.login(prompt=False)
    except wandb.errors.Error:
        logged_in = False
    if not logged_in or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        raise ConfigurationError("a sweep of W&B needs its server: wandb login, or --local to search without it")
    # the agent starts runs with the first python of the path
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    number = wandb.sweep(spec, project=spec["project"])
    wandb.agent(number, project=spec["project"], count=count)


def _search(spec: Spec, count: int, seed: int, out: Path) -> None:
    """Train with one choice after the other; print and write the table, best first."""
    folder = _new_folder(out, spec["name"])
    metric, goal = spec["metric"]["name"], spec["metric"].get("goal", "minimize")
    rows: list[dict[str, Any]] = []
    for number, choice in enumerate(itertools.islice(choices(spec, seed), count), 1):
        run_folder = folder / f"{number:03d}"
        command = [*command_of(spec, choice), f"run_dir={run_folder}"]
        print(f"run {number}: {shlex.join(command)}", flush=True)
        value = _result(run_folder, metric) if _succeeds(command) else None
        rows.append({"run": run_folder.name, **choice, metric: value})
        rows.sort(key=lambda row: _rank(row[metric], goal))
        _write(folder / TABLE_FILE, rows)
    _print(rows, metric, folder)
    if all(row[metric] is None for row in rows):
        raise ConfigurationError(f"{folder}: none of {len(rows)} runs gave {metric}; see above")


def _new_folder(out: Path, name: str) -> Path:
    for number in itertools.count(1):
        folder = out / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigurationError(f"{folder}: cannot be made ({error.strerror}); choose another --out") from None
        return folder
    raise AssertionError


def _succeeds(command: list[str]) -> bool:
    """A process of its own: what one run leaves behind, or breaks, does not reach the next one."""
    return subprocess.run(command, check=False).returncode == 0


def _result(run_folder: Path, metric: str) -> float | None:
    """The metric of a run's best checkpoint."""
    file = run_folder / "results.json"
    results = json.loads(file.read_text()) if file.exists() else {}
    return results.get("lightvid", {}).get(metric.removeprefix("val/"))


def _rank(value: float | None, goal: str) -> tuple[bool, float]:
    """Failed runs last."""
    return value is None, 0.0 if value is None else -value if goal == "maximize" else value


def _write(file: Path, rows: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _print(rows: list[Choice], metric: str, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0], title=str(folder))
    for row in rows:
        table.add_row(*(_short(name, value, metric) for name, value in row.items()))
    Console().print(table)
    print(f"{folder / TABLE_FILE}: the same; the best run is {folder / rows[0]['run']}")


def _short(name: str, value: Any, metric: str) -> str:
    if value is None:
        return "failed" if name == metric else "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
