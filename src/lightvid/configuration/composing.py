"""Arguments to a configuration, and the run folder that it names."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lightvid.configuration.files import Plain, as_mapping, load_saved, one_line_errors, resolve
from lightvid.configuration.groups import GROUPS, compose_groups, split_names
from lightvid.configuration.overrides import is_none, override_all, refuse_circles
from lightvid.errors import ConfigurationError
from lightvid.launch import RUN_DIR, is_main, starts_apart


def compose(arguments: Sequence[str], *, saved: Path | None = None, run_dir: str | None = None) -> Plain:
    """The plain, fully resolved configuration of `compose_linked`."""
    return resolve(compose_linked(arguments, saved=saved, run_dir=run_dir))


def compose_linked(arguments: Sequence[str], *, saved: Path | None = None, run_dir: str | None = None) -> DictConfig:
    """Compose a configuration from `key=value` arguments; values that refer to others still do.

    A key that names a group (`backbone=reversible`, or several: `backbone=reversible,wide`) chooses files of that
    group, or a file anywhere (`backbone=mine/shift.yaml`); every other key overrides one value, and `init_args` may be
    left out (`task.adversarial_weight=0.02`). Of keys that are given twice the last counts; a class goes before its
    arguments.

    Args:
        arguments: choices and overrides.
        saved: a configuration file that is the whole base, in place of the groups. Of a run's `config.yaml`, the file
            beside it with its references is taken, so that an override reaches all who refer to it.
        run_dir: the run folder; by default `OUT/TASK/NAME`, where a name that is not given is made of the choices and
            numbered if such a run exists.

    Raises:
        ConfigurationError: an unknown group, file, key or class, a value that must be given and is not, or a seed or
            name that cannot be one.
    """
    choices, overrides = _split(arguments)
    if saved is not None:
        if choices:
            name, value = next(iter(choices.items()))
            raise ConfigurationError(
                f"{name}={value} cannot change a saved configuration: override single values, or start a new run"
            )
        tree = load_saved(saved)
    else:
        tree = compose_groups(choices)
    given = {key: value for key, value in dict(overrides).items() if not is_none(key, value)}
    override_all(tree, overrides)
    refuse_circles(tree)
    former = None if saved is None else str(tree.run_dir)
    with one_line_errors():
        _check_seed(tree)
        _place(tree, given.get("run_dir", run_dir), given.get("name") or None)
        return tree if former is None else _move(tree, former, str(tree.run_dir))


def holds_a_run(folder: Path) -> bool:
    """Whether a run has come as far as writing results into a folder."""
    return (folder / "metrics.csv").exists() or (folder / "checkpoints").exists()


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[tuple[str, str]]]:
    choices: dict[str, str] = {}
    overrides: list[tuple[str, str]] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"'{argument}' is not of the form key=value")
        if key in GROUPS:
            if not value.strip():
                raise ConfigurationError(f"'{key}=' names nothing: {key}=NAME")
            choices[key] = value
        elif key.split(".")[0] == "choice":
            raise ConfigurationError(
                f"'{key}' only records what was chosen: write {key.removeprefix('choice.')}={value}"
            )
        else:
            overrides.append((key, value))
    return choices, overrides


def _check_seed(tree: DictConfig) -> None:
    seed = tree.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigurationError(f"'seed': expected a whole number from 0 to {2**32 - 1}, got '{seed}'")


def _place(tree: DictConfig, run_dir: str | None, given: str | None) -> None:
    """Fill in the run's name, which may be given, and folder."""
    folder = Path(str(tree.out)) / str(tree.choice.task)
    if None not in (run_dir, given) and given != Path(str(run_dir)).name:
        raise ConfigurationError(f"name={given} cannot rename the run folder {run_dir}: leave name out")
    if run_dir is None and (starts_apart() or not is_main()):
        run_dir = os.environ.get(RUN_DIR)
    if run_dir is not None:
        tree.name, tree.run_dir = Path(run_dir).name, run_dir
        return
    if starts_apart() and given is None:
        raise ConfigurationError(
            "processes that are started one by one (torchrun, SLURM, several nodes) agree on a run folder by name=NAME"
        )
    parts = (tree.choice.get("paper"), tree.choice.get("backbone"), tree.choice.get("data"))
    name = str(tree.name or "-".join("-".join(split_names(part)) for part in parts if part))
    if name in (".", "..") or re.search(r"[/\\]", name):
        raise ConfigurationError(f"name='{name}' names no folder of a run: out=FOLDER says where it lies")
    if given is None:
        base = re.sub(r"-\d+$", "", name) if tree.name else name
        candidates = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        name = next(candidate for candidate in candidates if not holds_a_run(folder / candidate))
    tree.name, tree.run_dir = name, str(folder / name)


def _move(tree: DictConfig, former: str, folder: str) -> DictConfig:
    """Let the paths of a saved configuration that lie in its run folder follow to another."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [moved(inner) for inner in value]
        if isinstance(value, str) and (value == former or value.startswith(f"{former}/")):
            return folder + value.removeprefix(former)
        return value

    return as_mapping(OmegaConf.create(moved(OmegaConf.to_container(tree, resolve=False))))
