"""The files of each group, merged in the order in which they count."""

from __future__ import annotations

import copy
import re
from importlib.resources import files
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from lightvid.configuration.files import as_mapping, load_shipped, load_yaml
from lightvid.errors import ConfigurationError, nearest

GROUPS = ("task", "backbone", "data", "trainer", "logger", "paper")


def compose_groups(choices: dict[str, str]) -> DictConfig:
    """The tree of the chosen files: defaults, then recipes of papers, then what is chosen by name.

    Args:
        choices: of each group that is chosen, one or several names or paths.

    Raises:
        ConfigurationError: no such file, or a recipe for another task.
    """
    base = load_shipped("base.yaml")
    paper = [_load_choice("paper", name) for name in split_names(choices.get("paper"))]
    task_name = _task_of(choices, paper) or base.choice.task
    task = _load_choice("task", task_name)
    chosen = as_mapping(
        OmegaConf.merge(base.choice, task.get("choice", {}), *(p.get("choice", {}) for p in paper), choices)
    )

    def layers(explicit: bool) -> list[DictConfig]:
        groups = [group for group in ("backbone", "data", "trainer", "logger") if (group in choices) == explicit]
        named = [(group, name) for group in groups for name in split_names(chosen.get(group))]
        return [_load_choice(group, name, _title(task_name)) for group, name in named]

    tree = base
    # A recipe goes over the defaults, and what is chosen by name over the recipe.
    for layer in (task, *layers(False), *paper, *layers(True)):
        tree = _merge(tree, layer)
    tree.choice = {group: _title(names) if names else names for group, names in chosen.items()}
    return tree


def root_keys() -> list[str]:
    """The keys that a configuration may have at its top."""
    return [*map(str, load_shipped("base.yaml")), "task", "backbone", "data"]


def split_names(value: str | None) -> list[str]:
    """Of `psal reversible` or `psal,reversible`, each."""
    return re.split(r"[\s,+]+", value.strip()) if value else []


def _task_of(choices: dict[str, str], papers: list[DictConfig]) -> str | None:
    """The task that is chosen, or that a recipe is for."""
    given = choices.get("task")
    for name, paper in zip(split_names(choices.get("paper")), papers, strict=True):
        wanted = paper.choice.task
        if given not in (None, wanted):
            raise ConfigurationError(f"paper={name} is a recipe for task={wanted}, not for task={given}")
        given = str(wanted)
    return given


def _merge(tree: DictConfig, layer: DictConfig) -> DictConfig:
    """Merge a file over a tree; where it names another class, or a list of them, what was there goes.

    So does a mapping that is an argument's value, such as `learning_rate_factors`: unlike a part, which has a
    `class_path` or `init_args`, its keys are the value.
    """
    tree = copy.deepcopy(tree)
    _forget(tree, layer)
    return as_mapping(OmegaConf.merge(tree, layer))


def _forget(tree: DictConfig, layer: DictConfig, *, are_arguments: bool = False) -> None:
    for key, value in layer.items_ex(resolve=False):
        below = None if OmegaConf.is_interpolation(tree, str(key)) else tree.get(key)
        if {type(value), type(below)} == {DictConfig, ListConfig}:
            del tree[key]
        elif isinstance(value, DictConfig) and isinstance(below, DictConfig):
            if are_arguments and not (_is_part(value) or _is_part(below)):
                del tree[key]
                continue
            named = value.get("class_path"), below.get("class_path")
            if all(named) and named[0] != named[1]:
                below["init_args"] = {}
            _forget(below, value, are_arguments=key == "init_args")


def _is_part(value: DictConfig) -> bool:
    return "class_path" in value or "init_args" in value


def _title(names: str) -> str:
    """What chosen files are called in a run's name."""
    return ",".join(Path(name).stem if name.endswith(".yaml") else name for name in split_names(names))


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
