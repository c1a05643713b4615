"""Networks from the configuration that a checkpoint carries."""

from __future__ import annotations

import collections.abc
import inspect
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints

from torch import nn

from lightvid.errors import CheckpointError

PACKAGES = ("lightvid.attention", "lightvid.backbone", "lightvid.heads", "lightvid.networks", "lightvid.stems")
TRUST = "LIGHTVID_TRUST"
"""Variable of the environment: modules of one's own whose classes are built, too, separated by commas."""


def build(tree: Mapping[str, Any]) -> nn.Module:
    """Build a module from nested `{class_path, init_args}`.

    Only modules of this library, and of what `LIGHTVID_TRUST` names, are built: a checkpoint may come from anywhere. An
    argument that may be a callable receives a factory, not a module.

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
    trusted = [name.strip() for name in os.environ.get(TRUST, "").split(",") if name.strip()]
    if not _is_in(module, [*PACKAGES, *trusted]):
        way_out = f"; {TRUST}={module} allows it, if you trust that module" if not _is_in(module, ["lightvid"]) else ""
        raise CheckpointError(f"the checkpoint asks for {path}, which is no network of lightvid: not built{way_out}")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        owner = f"module {module}" if _is_in(module, trusted) else "this version of lightvid"
        raise CheckpointError(f"the checkpoint asks for {path}, which {owner} does not have") from None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and _is_in(cls.__module__, ["lightvid", *trusted])):
        raise CheckpointError(f"the checkpoint asks for {path}, which is no network of lightvid: not built")
    return cls


def _is_in(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
