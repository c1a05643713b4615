"""Single values of a configuration, set by `key=value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightvid.configuration.classes import arguments_of, find_class, looks_like_class_path
from lightvid.configuration.files import first_line, short_key
from lightvid.errors import ConfigurationError, nearest

# Values that are text as they stand, whatever YAML would make of them.
LITERAL = ("name", "out", "run_dir", "init_from", "data.root", "data.inpainting.root", "data.segmentation.root")
NULLABLE = ("name", "run_dir", "init_from")  # of these: for them, `null` is none

NONE = ("null", "None")  # the latter as W&B's agent writes the null of a sweep


def override_all(tree: DictConfig, overrides: Sequence[tuple[str, str]]) -> None:
    """Set values one after the other, but a class before its arguments, in whatever order they are given."""
    ordered: list[tuple[str, str]] = []
    for key, value in overrides:
        place = len(ordered)
        if key.endswith(".class_path") or looks_like_class_path(value):
            part = short_key(key).removesuffix(".class_path")
            inside = (at for at, (other, _) in enumerate(ordered) if _is_argument(short_key(other), part))
            place = next(inside, place)
        ordered.insert(place, (key, value))
    for key, value in ordered:
        override(tree, key, value)


def override(tree: DictConfig, key: str, value: str) -> None:
    """Set one value, stepping through lists, `init_args` and references such as `${backbone}` on the way.

    Another class keeps those arguments that it takes, too.
    """
    node: Any = tree
    steps = key.split(".")
    walked: list[str] = []
    for depth, step in enumerate(steps):
        if isinstance(node, DictConfig) and "class_path" in node and step not in ("class_path", "init_args"):
            if node.get("init_args") is None:
                node["init_args"] = {}
            node = node["init_args"]
            walked.append("init_args")
        place: str | int = step
        if isinstance(node, ListConfig):
            place = _element(node, step, key)
        elif not isinstance(node, DictConfig):
            raise ConfigurationError(f"'{key}': '{'.'.join(steps[:depth])}' is a single value and has no key '{step}'")
        elif step not in node and not _may_be_new(walked, steps[depth:]):
            raise ConfigurationError(f"unknown key '{step}' in '{key}': {nearest(step, map(str, node))}")
        if depth == len(steps) - 1:
            _set(node, place, key, value)
            return
        if OmegaConf.is_interpolation(node, place):
            reference = str(OmegaConf.to_container(node, resolve=False)[place])[2:-1]  # type: ignore[index]
            node = OmegaConf.select(tree, reference)
        else:
            _open(node, place, steps[depth + 1])
            node = node[place]
        walked.append(step)


def _is_argument(key: str, part: str) -> bool:
    return key.startswith(f"{part}.") and key != f"{part}.class_path"


def _set(node: Any, place: str | int, key: str, value: str) -> None:
    parsed = value if key in LITERAL and not is_none(key, value) else _parse_value(key, value)
    former = _part(node, place)
    if place == "class_path":
        _choose_class(node, parsed, key.removesuffix(".class_path"))
    elif former is not None and "class_path" in former and looks_like_class_path(parsed):
        _choose_class(former, parsed, key)
    elif former is not None and "." not in key and not isinstance(parsed, dict):
        raise ConfigurationError(f"'{key}' has no value of its own: override one of {_keys(key, former)}")
    else:
        node[place] = parsed


def _choose_class(part: Any, path: Any, key: str) -> None:
    former = part.get("init_args")
    if path != part.get("class_path") and former:
        taken = arguments_of(find_class(path, key))
        for name in [name for name in former if name not in taken]:
            del former[name]
    elif former is None:
        part["init_args"] = {}
    part["class_path"] = path


def _part(node: Any, place: str | int) -> DictConfig | None:
    """What lies at a place if it is a mapping, and not a reference to one."""
    if isinstance(node, DictConfig) and (place not in node or OmegaConf.is_missing(node, place)):
        return None
    if OmegaConf.is_interpolation(node, place):
        return None
    return node[place] if isinstance(node[place], DictConfig) else None


def _keys(key: str, section: DictConfig) -> str:
    return ", ".join(f"{key}.{name}" for name in map(str, section))


def _open(node: Any, place: str | int, following: str) -> None:
    """Make room for a key inside of what may be nothing yet, or a class without arguments."""
    value = node.get(place)
    if value is None:
        node[place] = {}
    elif looks_like_class_path(value):
        node[place] = {"class_path": value, "init_args": {}}
    elif following == "class_path" and not isinstance(value, (DictConfig, ListConfig)):
        node[place] = {}


def is_none(key: str, value: str) -> bool:
    """Whether a key, whose values are text, is given as null."""
    return key in NULLABLE and value in NONE


def refuse_circles(tree: DictConfig) -> None:
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


def _element(node: ListConfig, step: str, key: str) -> int:
    if step.isascii() and step.isdigit() and int(step) < len(node):
        return int(step)
    raise ConfigurationError(
        f"'{key}': expected the number of a list's element, 0 to {len(node) - 1}, in place of '{step}'"
    )


def _may_be_new(walked: list[str], rest: list[str]) -> bool:
    """Whether a key that no file gives may be added: an argument, a trainer option, a whole new callback."""
    if not walked:
        return False
    named_by_class = walked[0] in ("callbacks", "loggers") and rest[1:] == ["class_path"]
    return "init_args" in walked or walked == ["trainer"] or named_by_class or rest[0] in ("class_path", "init_args")


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
