"""What jsonargparse reports on a configuration, in one line."""

from __future__ import annotations

import itertools
import re
from typing import Any

from lightvid.configuration.classes import arguments_of, find_class, looks_like_class_path
from lightvid.configuration.files import Plain, short_key
from lightvid.errors import nearest

WRONG_KIND = re.compile(
    r"Import path ([\w.]+) does not correspond to a subclass of ([\w.]+)"
    r"|Expected '([\w.]+)' to be a subclass of <class '([\w.]+)'>"
)


def one_line(message: str, plain: Plain) -> str:
    """Reduce a nested report to its deepest finding, and add the nearest valid key to a misspelt one.

    Args:
        message: jsonargparse's report.
        plain: the configuration that it is about.

    Raises:
        ConfigurationError: the configuration names a class that cannot be imported, which explains the report.
    """
    _find_classes({key: value for key, value in plain.items() if isinstance(value, dict)})
    key = ".".join(re.findall(r'Parser key "([^"]+)":', message))
    if match := re.search(
        r"Option '([^']+)' is not accepted|Group '([^']+)' does not accept option '([^']+)'", message
    ):
        owner, option = (key, match[1]) if match[1] else (match[2], match[3])
        return _unknown(owner, option, plain)
    finding = _finding(message)
    if match := WRONG_KIND.search(finding):
        path, kind = match[1] or match[3], match[2] or match[4]
        return f"'{short_key(key)}': {path} is no {kind.rpartition('.')[2]}"
    kinds = [kind for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|$)", finding, re.M) if "path" not in kind]
    kinds += [f"a class_path of a {kind}" for kind in re.findall(r"Not a valid subclass of (\w+)", finding)]
    if not kinds:
        lines = [line.strip().removeprefix("- ") for line in finding.splitlines()]
        cause = next((line for line in reversed(lines) if line and not line.startswith("Problem with given")), message)
        return f"'{short_key(key)}': {cause}" if key else cause
    names = [re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>|(?:typing|collections\.abc)\.", r"\1", kind) for kind in kinds]
    expected = " or ".join(dict.fromkeys("null" if name == "NoneType" else name for name in names))
    got = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value: .*)?$", finding, re.M)
    if got and looks_like_class_path(got[1]) and "Expected a path but" in finding:  # said of text for a class
        find_class(got[1], short_key(key))
    return f"'{short_key(key)}': expected {expected}" + (f", got '{got[1]}'" if got else "")


def _find_classes(node: Any, key: str = "") -> None:
    """Raise a `ConfigurationError` for the first class path that cannot be imported."""
    if isinstance(node, dict) and isinstance(path := node.get("class_path"), str):
        find_class(path, short_key(key))
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in inner:
        _find_classes(value, f"{key}.{name}".removeprefix("."))


def _finding(message: str) -> str:
    """The part of a nested report that is about its innermost key: what is indented below it."""
    lines = message.splitlines()
    last = max((index for index, line in enumerate(lines) if 'Parser key "' in line), default=-1)
    if last < 0:
        return message
    depth = len(lines[last]) - len(lines[last].lstrip())
    below = itertools.takewhile(lambda line: not line or len(line) - len(line.lstrip()) > depth, lines[last + 1 :])
    return "\n".join([lines[last].rpartition('":')[2], *below])


def _unknown(owner: str, option: str, plain: Plain) -> str:
    """On a key that the class of `owner` does not take; of a list, that of the element which has it."""
    if owner == "trainer":
        import pytorch_lightning as pl

        return f"unknown key 'trainer.{option}': {nearest(option, arguments_of(pl.Trainer))}"
    node: Any = plain
    for step in owner.split("."):
        node = node["init_args"] if "class_path" in node and step not in node else node
        node = node[step]
    if isinstance(node, list):
        number = next(number for number, element in enumerate(node) if option in (element.get("init_args") or {}))
        owner, node = f"{owner}.{number}", node[number]
    taken = arguments_of(find_class(node["class_path"], short_key(owner)))
    return f"unknown key '{short_key(owner)}.{option}': {nearest(option, taken)}"
