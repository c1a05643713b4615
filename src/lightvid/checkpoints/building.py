"""Networks from the configuration that a checkpoint carries."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from lightvid.errors import CheckpointError

PACKAGES = ("lightvid.attention", "lightvid.backbone", "lightvid.heads", "lightvid.networks", "lightvid.stems")


def build(tree: Mapping[str, Any]) -> nn.Module:
    """Build a module from nested `{class_path, init_args}`.

    Only modules of this library are built: a checkpoint may come from anywhere. An argument that may be a callable
    receives a factory, not a module.

    Raises:
        CheckpointError: another class, a class that does not exist, or arguments that it does not take.
    """
    factory = _factory(tree)
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise CheckpointError(f"the checkpoint's configuration of {factory.func.__name__}: {error}") from None
    return factory()


def _factory(tree: Mapping[str, Any]) -> partial[nn.Module]:
    """A class with the arguments that the tree gives."""
    cls = _find(str(tree.get("class_path")))
    hints = get_type_hints(cls.__init__)
    arguments = {name: _argument(value, hints.get(name)) for name, value in (tree.get("init_args") or {}).items()}
    try:
        inspect.signature(cls).bind_partial(**arguments)  # a factory's caller gives the rest
    except TypeError as error:
        raise CheckpointError(f"the checkpoint's configuration of {cls.__name__}: {error}") from None
    return partial(cls, **arguments)


def _argument(value: Any, hint: Any) -> Any:
    """A module, a factory where the annotation asks for a callable, a list of these, or the value as it is."""
    if isinstance(value, list):
        return [_argument(element, hint) for element in value]
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    is_factory = collections.abc.Callable in {get_origin(kind) for kind in (hint, *get_args(hint))}
    return _factory(value) if is_factory else build(value)


def _find(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    if not any(module == package or module.startswith(f"{package}.") for package in PACKAGES):
        raise CheckpointError(f"the checkpoint asks for {path}, which is no network of lightvid: not built")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise CheckpointError(f"the checkpoint asks for {path}, which this version of lightvid does not have") from None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__.startswith("lightvid.")):
        raise CheckpointError(f"the checkpoint asks for {path}, which is no network of lightvid: not built")
    return cls
