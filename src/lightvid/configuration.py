"""Configuration: OmegaConf composes files and overrides into one plain tree, which `building` checks and builds.

A configuration is made of `base.yaml`, one file of each chosen group (task, backbone, data, trainer, logger, paper) and
`key=value` overrides. The result is a plain dictionary: it is saved beside the run, is itself a valid configuration,
and nothing heavy is imported until it is built.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightvid.configuration_files import (
    Plain,
    as_mapping,
    first_line,
    load_saved,
    load_shipped,
    load_yaml,
    one_line_errors,
    resolve,
    short_key,
)
from lightvid.errors import ConfigurationError
from lightvid.launch import RUN_DIR, is_main, starts_apart

GROUPS = ("task", "backbone", "data", "trainer", "logger", "paper")

# Values that are text as they stand, whatever YAML would make of them.
LITERAL = ("name", "out", "run_dir", "init_from", "data.root", "data.inpainting.root", "data.segmentation.root")
NULLABLE = ("name", "run_dir", "init_from")  # of these: for them, `null` is none

NONE = ("null", "None")  # the latter as W&B's agent writes the null of a sweep


def compose(arguments: Sequence[str], *, saved: Path | None = None, run_dir: str | None = None) -> Plain:
    """The plain, fully resolved configuration of `compose_linked`."""
    return resolve(compose_linked(arguments, saved=saved, run_dir=run_dir))


def compose_linked(arguments: Sequence[str], *, saved: Path | None = None, run_dir: str | None = None) -> DictConfig:
    """Compose a configuration from `key=value` arguments; values that refer to others still do.

    A key that names a group (`backbone=reversible`, or several: `backbone=reversible,wide`) chooses files of that
    group, or a file anywhere (`backbone=mine/shift.yaml`); every other key overrides one value, and `init_args` may be
    left out (`task.adversarial_weight=0.02`).

    Args:
        arguments: choices and overrides.
        saved: a configuration file that is the whole base, in place of the groups. Of a run's `config.yaml`, the file
            beside it with its references is taken, so that an override reaches all who refer to it.
        run_dir: the run folder; by default `OUT/TASK/NAME`, where a name that is not given is made of the choices and
            numbered if such a run exists.

    Raises:
        ConfigurationError: an unknown group, file, key, or a value that must be given and is not.
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
        tree = _compose_groups(choices)
    given = {key: value for key, value in dict(overrides).items() if not _is_none(key, value)}
    for key, value in overrides:
        _override(tree, key, value)
    _refuse_circles(tree)
    former = None if saved is None else str(tree.run_dir)
    with one_line_errors():
        _place(tree, given.get("run_dir", run_dir), named="name" in given)
        return tree if former is None else _move(tree, former, str(tree.run_dir))


def holds_a_run(folder: Path) -> bool:
    """Whether a run has come as far as writing results into a folder."""
    return (folder / "metrics.csv").exists() or (folder / "checkpoints").exists()


def root_keys() -> list[str]:
    """The keys that a configuration may have at its top."""
    return [*map(str, load_shipped("base.yaml")), "task", "backbone", "data"]


def nearest(word: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt word: the nearest valid one and the whole list."""
    options = sorted(valid)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Valid: {', '.join(options)}"


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


def _compose_groups(choices: dict[str, str]) -> DictConfig:
    base = load_shipped("base.yaml")
    paper = [_load_choice("paper", name) for name in _names(choices.get("paper"))]
    task_name = _task_of(choices, paper) or base.choice.task
    task = _load_choice("task", task_name)
    chosen = as_mapping(
        OmegaConf.merge(base.choice, task.get("choice", {}), *(p.get("choice", {}) for p in paper), choices)
    )

    def layers(explicit: bool) -> list[DictConfig]:
        groups = [group for group in ("backbone", "data", "trainer", "logger") if (group in choices) == explicit]
        return [_load_choice(group, name, _title(task_name)) for group in groups for name in _names(chosen.get(group))]

    tree = base
    # A recipe goes over the defaults, and what is chosen by name over the recipe.
    for layer in (task, *layers(False), *paper, *layers(True)):
        tree = _merge(tree, layer)
    tree.choice = {group: _title(names) if names else names for group, names in chosen.items()}
    return tree


def _task_of(choices: dict[str, str], papers: list[DictConfig]) -> str | None:
    """The task that is chosen, or that a recipe is for."""
    given = choices.get("task")
    for name, paper in zip(_names(choices.get("paper")), papers, strict=True):
        wanted = paper.choice.task
        if given not in (None, wanted):
            raise ConfigurationError(f"paper={name} is a recipe for task={wanted}, not for task={given}")
        given = str(wanted)
    return given


def _merge(tree: DictConfig, layer: DictConfig) -> DictConfig:
    """Merge a file over a tree; where it names another class, or a list of them, what was there goes."""
    tree = copy.deepcopy(tree)
    _forget_arguments(tree, layer)
    return as_mapping(OmegaConf.merge(tree, layer))


def _forget_arguments(tree: DictConfig, layer: DictConfig) -> None:
    for key, value in layer.items_ex(resolve=False):
        below = None if OmegaConf.is_interpolation(tree, str(key)) else tree.get(key)
        if {type(value), type(below)} == {DictConfig, ListConfig}:
            del tree[key]
        elif isinstance(value, DictConfig) and isinstance(below, DictConfig):
            named = value.get("class_path"), below.get("class_path")
            if all(named) and named[0] != named[1]:
                below["init_args"] = {}
            _forget_arguments(below, value)


def _names(value: str | None) -> list[str]:
    return re.split(r"[\s,+]+", value.strip()) if value else []


def _title(names: str) -> str:
    """What chosen files are called in a run's name."""
    return ",".join(Path(name).stem if name.endswith(".yaml") else name for name in _names(names))


def _load_choice(group: str, name: str, task: str = "") -> DictConfig:
    """A file by its path, or a group's file; one in a folder with the task's name goes before one for all tasks."""
    if name.endswith(".yaml"):
        return load_yaml(Path(name))
    available: dict[str, str] = {}
    for folder in (group, f"{group}/{task}") if task else (group,):
        place = files("lightvid.configs") / folder
        entries = [entry.name for entry in place.iterdir()] if place.is_dir() else []
        available |= {Path(entry).stem: f"{folder}/{entry}" for entry in entries if entry.endswith(".yaml")}
    if name not in available:
        raise ConfigurationError(f"no {group} named '{name}': {nearest(name, available)}")
    return load_shipped(available[name])


def _override(tree: DictConfig, key: str, value: str) -> None:
    """Set one value, stepping through lists, `init_args` and references such as `${backbone}` on the way."""
    node: Any = tree
    steps = key.split(".")
    walked: list[str] = []
    for depth, step in enumerate(steps):
        last = depth == len(steps) - 1
        if isinstance(node, DictConfig) and "class_path" in node and step not in ("class_path", "init_args"):
            if node.get("init_args") is None:
                node["init_args"] = {}
            node = node["init_args"]
            walked.append("init_args")
        if isinstance(node, ListConfig):
            element = _element(node, step, key)
            if last:
                node[int(step)] = _parse_value(key, value)
                return
            node = element
            walked.append(step)
            continue
        if not isinstance(node, DictConfig):
            raise ConfigurationError(f"'{key}': '{'.'.join(steps[:depth])}' is a single value and has no key '{step}'")
        if step not in node and not _may_be_new(walked, steps[depth:]):
            raise ConfigurationError(f"unknown key '{step}' in '{key}': {nearest(step, map(str, node))}")
        if last:
            if step == "class_path":
                node["init_args"] = {}
            node[step] = _parse_value(key, value) if key not in LITERAL or _is_none(key, value) else value
            return
        if step in node and OmegaConf.is_interpolation(node, step):
            reference = str(OmegaConf.to_container(node, resolve=False)[step])[2:-1]  # type: ignore[index,call-overload]
            node = OmegaConf.select(tree, reference)
        else:
            if node.get(step) is None:
                node[step] = {}
            node = node[step]
        walked.append(step)


def _element(node: ListConfig, step: str, key: str) -> Any:
    if step.isascii() and step.isdigit() and int(step) < len(node):
        return node[int(step)]
    raise ConfigurationError(
        f"'{key}': expected the number of a list's element, 0 to {len(node) - 1}, in place of '{step}'"
    )


def _is_none(key: str, value: str) -> bool:
    return key in NULLABLE and value in NONE


def _parse_value(key: str, value: str) -> Any:
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigurationError(f"'{key}={value}' is not readable as a value ({first_line(error)})") from None
    assert isinstance(parsed, dict)
    return _with_nulls(parsed["value"])


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nulls(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_nulls(inner) for inner in value]
    return None if value == "None" else value


def _place(tree: DictConfig, run_dir: str | None, named: bool) -> None:
    """Fill in the run's name and folder."""
    folder = Path(str(tree.out)) / str(tree.choice.task)
    if run_dir is None and (starts_apart() or not is_main()):
        run_dir = os.environ.get(RUN_DIR)
    if run_dir is not None:
        tree.name, tree.run_dir = Path(run_dir).name, run_dir
        return
    if starts_apart() and not named:
        raise ConfigurationError(
            "processes that are started one by one (torchrun, SLURM, several nodes) agree on a run folder by name=NAME"
        )
    parts = (tree.choice.get("paper"), tree.choice.get("backbone"), tree.choice.get("data"))
    name = str(tree.name or "-".join("-".join(_names(part)) for part in parts if part))
    if not named:
        base = re.sub(r"-\d+$", "", name) if tree.name else name
        candidates = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        name = next(candidate for candidate in candidates if not holds_a_run(folder / candidate))
    tree.name, tree.run_dir = name, str(folder / name)


def _may_be_new(walked: list[str], rest: list[str]) -> bool:
    """Whether a key that no file gives may be added: an argument, a trainer option, a whole new callback."""
    if not walked:
        return False
    named_by_class = walked[0] in ("callbacks", "loggers") and rest[1:] == ["class_path"]
    return "init_args" in walked or walked == ["trainer"] or named_by_class or rest[0] in ("class_path", "init_args")


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


def _refuse_circles(tree: DictConfig) -> None:
    """Raise a `ConfigurationError` for values that refer to each other in a circle, on which OmegaConf may not end."""
    references: dict[str, list[str]] = {}

    def collect(value: Any, path: str) -> None:
        if isinstance(value, (dict, list)):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                collect(inner, f"{path}.{key}" if path else str(key))
        elif isinstance(value, str):
            references[path] = re.findall(r"\$\{([\w.]+)\}", value)

    collect(OmegaConf.to_container(tree, resolve=False), "")
    open_ended = {path: names for path, names in references.items() if names}
    # What refers only to what ends, ends.
    while ending := [path for path, names in open_ended.items() if not any(name in open_ended for name in names)]:
        for path in ending:
            del open_ended[path]
    if open_ended:
        raise ConfigurationError(
            f"'{short_key(next(iter(open_ended)))}' refers to itself: look for ${{...}} in a circle"
        )
