"""Classes that a configuration names by their path: found, or answered in one line, and their arguments."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from lightvid.configuration.files import first_line
from lightvid.errors import ConfigurationError, nearest

FEW = 25  # names of a module that fit into a message


def looks_like_class_path(value: Any) -> bool:
    """Whether a value is text of the form `module.Class`."""
    return isinstance(value, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", value) is not None


def find_class(path: str, key: str) -> Any:
    """Import what a path names, modules first, then attributes of the last module.

    Args:
        path: such as `torch.optim.AdamW`.
        key: of the configuration, for the message.

    Raises:
        ConfigurationError: no such module or name, or a module that fails to be imported.
    """
    if not looks_like_class_path(path):
        raise ConfigurationError(f"'{key}': '{path}' is not of the form MODULE.CLASS")
    found: Any = None
    name = ""
    *modules, last = path.split(".")
    for step in modules:
        parent, name = name, f"{name}.{step}".removeprefix(".")
        if (module := _module(name, key)) is not None:
            found = module
        elif found is None:
            raise ConfigurationError(f"'{key}': no module '{name}'")
        else:
            found = _attribute(found, step, parent, key)
    return _attribute(found, last, name, key)


def arguments_of(target: Any) -> list[str]:
    """Names of the arguments that a class, or a function, takes; those that it hands on as `**kwargs` included."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    add = parser.add_class_arguments if inspect.isclass(target) else parser.add_function_arguments
    add(target, "target", fail_untyped=False)
    taken = parser.get_defaults().get("target")
    return [str(name) for name in vars(taken)] if taken else []


def _module(name: str, key: str) -> ModuleType | None:
    """A module; None if there is none of this name."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            return None
        reason = first_line(error)
    except SyntaxError as error:
        reason = f"{Path(error.filename or name).name} line {error.lineno}: {error.msg}"
    except Exception as error:  # a module's own code may raise anything
        reason = f"{type(error).__name__}: {first_line(error)}"
    raise ConfigurationError(f"'{key}': module '{name}' fails to be imported: {reason}") from None


def _attribute(owner: Any, name: str, path: str, key: str) -> Any:
    if hasattr(owner, name):
        return getattr(owner, name)
    kind = "module " if isinstance(owner, ModuleType) else ""
    raise ConfigurationError(f"'{key}': {kind}'{path}' has no '{name}'{_near(name, owner)}")


def _near(name: str, owner: Any) -> str:
    """The nearest class of a module, and all of them where they are few."""
    classes = [entry for entry in dir(owner) if entry[0] != "_" and inspect.isclass(getattr(owner, entry, None))]
    hint = nearest(name, classes)
    return f": {hint}" if classes and len(classes) <= FEW else f": {hint.partition('?')[0]}?" if "?" in hint else ""
