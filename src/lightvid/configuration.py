"""Configuration: OmegaConf composes files and overrides, jsonargparse checks types and builds.

A configuration is made of `base.yaml`, one file of each chosen group (task, backbone, data, trainer, paper) and
`key=value` overrides. The result is a plain dictionary: it is saved beside the run, is itself a valid configuration,
and nothing heavy is imported until it is built.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from lightvid.errors import ConfigurationError

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser, Namespace

Plain = dict[str, Any]

GROUPS = ("task", "backbone", "data", "trainer", "paper")


@dataclass
class Run:
    """What a configuration builds: everything that `trainer.fit(task, data)` needs."""

    task: pl.LightningModule
    data: pl.LightningDataModule
    trainer: pl.Trainer


def compose(arguments: Sequence[str], *, saved: Path | None = None, run_dir: str | None = None) -> Plain:
    """Compose a plain, fully resolved configuration from `key=value` arguments.

    A key that names a group (`backbone=reversible`, or several: `backbone=reversible,wide`) chooses files of that
    group; every other key overrides one value, and `init_args` may be left out (`task.adversarial_weight=0.02`).

    Args:
        arguments: choices and overrides.
        saved: a configuration file that is the whole base, in place of the groups.
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
        tree = load_yaml(saved)
    else:
        tree = _compose_groups(choices)
    named = any(key == "name" for key, _ in overrides)
    for key, value in overrides:
        _override(tree, key, value)
    with _one_line_errors():
        _place(tree, run_dir, named)
        return _resolve(tree)


def check(plain: Plain) -> None:
    """Check every key and type of a configuration against the constructors it names.

    Raises:
        ConfigurationError: one line that names the key, and the nearest valid one for a misspelt key.
    """
    _parse(plain)


def build(plain: Plain) -> Run:
    """Build the task, the data module and the trainer of a composed configuration.

    Raises:
        ConfigurationError: as `check`.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ProgressBar

    from lightvid.checkpoint_io import AtomicCheckpointIO

    (trainer_parser, trainer_values), (parser, values) = _parse(plain)
    built = parser.instantiate(values)
    options = {
        **vars(trainer_parser.instantiate(trainer_values).trainer),
        "callbacks": _values(built, "callbacks"),
        "logger": _values(built, "loggers"),
    }
    options["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in options["callbacks"])
    if options["devices"] in (1, "1") and options["num_nodes"] == 1:
        options["strategy"] = "auto"  # one process needs no process group
    trainer = pl.Trainer(**{**options, "plugins": [AtomicCheckpointIO(), *(options["plugins"] or [])]})
    return Run(built.task, built.data, trainer)


def load_yaml(path: Path) -> DictConfig:
    """Read one configuration file.

    Raises:
        ConfigurationError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        tree = OmegaConf.load(path)
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such configuration file") from None
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{path}: not a readable YAML file ({_first_line(error)})") from None
    if not isinstance(tree, DictConfig):
        raise ConfigurationError(f"{path}: a configuration is a mapping of keys to values")
    return tree


def save_yaml(plain: Plain, path: Path) -> None:
    """Write a configuration so that `load_yaml` reads the same tree back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(plain, sort_keys=False))


def holds_a_run(folder: Path) -> bool:
    """Whether a run has come as far as writing results into a folder."""
    return (folder / "metrics.csv").exists() or (folder / "checkpoints").exists()


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
            choices[key] = value
        else:
            overrides.append((key, value))
    return choices, overrides


def _compose_groups(choices: dict[str, str]) -> DictConfig:
    base = _load_group_file("base.yaml")
    task = _load_choice("task", choices.get("task") or base.choice.task)
    paper = [_load_choice("paper", name) for name in _names(choices.get("paper"))]
    chosen = _as_mapping(
        OmegaConf.merge(base.choice, task.get("choice", {}), *(p.get("choice", {}) for p in paper), choices)
    )
    layers = [
        _load_choice(group, name) for group in ("backbone", "data", "trainer") for name in _names(chosen.get(group))
    ]
    tree = base
    for layer in (task, *layers, *paper):
        tree = _merge(tree, layer)
    tree.choice = chosen
    return tree


def _merge(tree: DictConfig, layer: DictConfig) -> DictConfig:
    """Merge a file over a tree; where it names another class, the arguments of the former class go."""
    tree = copy.deepcopy(tree)
    _forget_arguments(tree, layer)
    return _as_mapping(OmegaConf.merge(tree, layer))


def _forget_arguments(tree: DictConfig, layer: DictConfig) -> None:
    for key, value in layer.items_ex(resolve=False):
        below = None if OmegaConf.is_interpolation(tree, str(key)) else tree.get(key)
        if isinstance(value, DictConfig) and isinstance(below, DictConfig):
            named = value.get("class_path"), below.get("class_path")
            if all(named) and named[0] != named[1]:
                below["init_args"] = {}
            _forget_arguments(below, value)


def _names(value: str | None) -> list[str]:
    return re.split(r"[\s,+]+", value.strip()) if value else []


def _load_choice(group: str, name: str) -> DictConfig:
    folder = files("lightvid.configs") / group
    available = (
        [Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")] if folder.is_dir() else []
    )
    if name not in available:
        raise ConfigurationError(f"no {group} named '{name}': {nearest(name, available)}")
    return _load_group_file(f"{group}/{name}.yaml")


def _load_group_file(name: str) -> DictConfig:
    return load_yaml(Path(str(files("lightvid.configs") / name)))


def _as_mapping(tree: Any) -> DictConfig:
    assert isinstance(tree, DictConfig)
    return tree


def _override(tree: DictConfig, key: str, value: str) -> None:
    """Set one value, stepping through `init_args` and references such as `${backbone}` on the way."""
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
        if not isinstance(node, DictConfig):
            raise ConfigurationError(f"'{key}': '{'.'.join(steps[:depth])}' is a single value and has no key '{step}'")
        if step not in node and not _may_be_new(walked, steps[depth:]):
            raise ConfigurationError(f"unknown key '{step}' in '{key}': {nearest(step, map(str, node))}")
        if last:
            if step == "class_path":
                node["init_args"] = {}
            node[step] = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]), resolve=False)["value"]  # type: ignore[index,call-overload]
            return
        if step in node and OmegaConf.is_interpolation(node, step):
            reference = str(OmegaConf.to_container(node, resolve=False)[step])[2:-1]  # type: ignore[index,call-overload]
            node = OmegaConf.select(tree, reference)
        else:
            if node.get(step) is None:
                node[step] = {}
            node = node[step]
        walked.append(step)


def _place(tree: DictConfig, run_dir: str | None, named: bool) -> None:
    """Fill in the run's name and folder."""
    folder = Path(str(tree.out)) / str(tree.choice.task)
    if run_dir is None and int(os.environ.get("LOCAL_RANK", "0")) > 0:
        run_dir = os.environ.get("LIGHTVID_RUN_DIR")
    if run_dir is not None:
        tree.name, tree.run_dir = Path(run_dir).name, run_dir
        return
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


def _resolve(tree: DictConfig) -> Plain:
    plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn OmegaConf's reports on values that are missing or refer to nothing into one line each."""
    try:
        yield
    except MissingMandatoryValue as error:
        key = _short(str(error.full_key))
        raise ConfigurationError(f"'{key}' is not given: add {key}=VALUE") from None
    except (InterpolationKeyError, InterpolationResolutionError) as error:
        raise ConfigurationError(
            f"'{_short(str(error.full_key))}' has a wrong reference: {_first_line(error)}"
        ) from None
    except RecursionError:
        raise ConfigurationError("the configuration refers to itself: look for ${...} values in a circle") from None


def _parse(plain: Plain) -> list[tuple[ArgumentParser, Namespace]]:
    """Check the sections; the trainer's first, because other sections refer to its values and would take the blame."""
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser
    from pytorch_lightning.callbacks import Callback
    from pytorch_lightning.loggers import Logger

    _check_sections(plain)
    trainer = ArgumentParser(exit_on_error=False)
    trainer.add_class_arguments(pl.Trainer, "trainer", skip={"callbacks", "logger"}, instantiate=False)
    parts = ArgumentParser(exit_on_error=False)
    parts.add_subclass_arguments(pl.LightningModule, "task", required=True)
    parts.add_subclass_arguments(pl.LightningDataModule, "data", required=True)
    tree = {"task": plain["task"], "data": plain["data"]}
    for section, kind in (("callbacks", Callback), ("loggers", Logger)):
        chosen = {name: value for name, value in plain[section].items() if value is not None}
        for name in chosen:
            parts.add_subclass_arguments(kind, f"{section}.{name}", required=True)
        tree.update({section: chosen} if chosen else {})
    parsed = []
    for parser, values in ((trainer, {"trainer": plain["trainer"]}), (parts, tree)):
        try:
            parsed.append((parser, parser.parse_object(copy.deepcopy(values))))
        except Exception as error:  # jsonargparse wraps whatever a constructor's signature or an import raises
            raise ConfigurationError(_one_line(str(error), plain)) from None
    return parsed


def _check_sections(plain: Plain) -> None:
    known = [*map(str, _load_group_file("base.yaml")), "task", "backbone", "data"]
    for key in plain:
        if key not in known:
            raise ConfigurationError(f"unknown key '{key}': {nearest(key, known)}")
    for section in ("trainer", "task", "data", "callbacks", "loggers"):
        if not isinstance(plain.get(section), dict):
            raise ConfigurationError(f"'{section}' is missing from the configuration or is not a mapping")


def _values(built: Any, section: str) -> list[Any]:
    group = built.get(section)
    return list(vars(group).values()) if group else []


def _one_line(message: str, plain: Plain) -> str:
    """Reduce jsonargparse's nested report to its deepest finding, and add the nearest valid key to a misspelt one."""
    path: list[tuple[int, str]] = []
    leaf, leaf_path, leaf_depth = message.splitlines()[0], [""], -1
    for line in message.splitlines():
        depth = len(line) - len(line.lstrip())
        text = line.strip().removeprefix("- ")
        if text.startswith(("Given value", "Subtypes", "Errors:", "Does not validate", "Problem with given")):
            continue
        path = [step for step in path if step[0] < depth]
        if match := re.match(r'Parser key "([^"]+)":', text):
            path.append((depth, match[1]))
        elif depth > leaf_depth:
            leaf, leaf_path, leaf_depth = text, [key for _, key in path], depth
    key = ".".join(leaf_path)
    if match := re.search(r"Option '([^']+)' is not accepted|Group '([^']+)' does not accept option '([^']+)'", leaf):
        owner, option = (key, match[1]) if match[1] else (match[2], match[3])
        return f"unknown key '{_short(owner)}.{option}': {nearest(option, _valid_options(owner, plain))}"
    if match := re.search(r"Expected a (.+?)\. Got value: (.*)", leaf):
        wanted = re.sub(r"<class '([^']+)'>", r"\1", match[1]).replace("typing.", "")
        return f"'{_short(key)}': expected {wanted}, got '{match[2]}'"
    return f"'{_short(key)}': {leaf}" if key else leaf


def _valid_options(owner: str, plain: Plain) -> list[str]:
    from jsonargparse import ArgumentParser

    if owner == "trainer":
        import pytorch_lightning as pl

        target: Any = pl.Trainer
    else:
        node: Any = plain
        for step in owner.split("."):
            node = node["init_args"] if "class_path" in node and step not in node else node
            node = node[step]
        module, _, name = node["class_path"].rpartition(".")
        target = getattr(__import__(module, fromlist=[name]), name)
    parser = ArgumentParser()
    parser.add_class_arguments(target, "target")
    return [str(key) for key in vars(parser.get_defaults().target)]


def _short(key: str) -> str:
    return key.replace(".init_args", "")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
