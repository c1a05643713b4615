"""Single values of a configuration, set by `key=value`."""

from __future__ import annotations

import re
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightvid.configuration.files import first_line, short_key
from lightvid.errors import ConfigurationError, nearest

# Values that are text as they stand, whatever YAML would make of them.
LITERAL = ("name", "out", "run_dir", "init_from", "data.root", "data.inpainting.root", "data.segmentation.root")
NULLABLE = ("name", "run_dir", "init_from")  # of these: for them, `null` is none

NONE = ("null", "None")  # the latter as W&B's agent writes the null of a sweep


def override(tree: DictConfig, key: str, value: str) -> None:
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
            node[step] = _parse_value(key, value) if key not in LITERAL or is_none(key, value) else value
            return
        if step in node and OmegaConf.is_interpolation(node, step):
            reference = str(OmegaConf.to_container(node, resolve=False)[step])[2:-1]  # type: ignore[index,call-overload]
            node = OmegaConf.select(tree, reference)
        else:
            if node.get(step) is None:
                node[step] = {}
            node = node[step]
        walked.append(step)


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


def _element(node: ListConfig, step: str, key: str) -> Any:
    if step.isascii() and step.isdigit() and int(step) < len(node):
        return node[int(step)]
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
