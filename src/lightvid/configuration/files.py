"""Files of configurations: read, resolved, and saved beside a run, with mistakes in them answered in one line each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from lightvid.errors import ConfigurationError

Plain = dict[str, Any]

CONFIG_FILE = "config.yaml"
LINKED_FILE = "linked.yaml"


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
        raise ConfigurationError(f"{path}: not a readable YAML file ({_yaml_problem(error)})") from None
    if not isinstance(tree, DictConfig):
        raise ConfigurationError(f"{path}: a configuration is a mapping of keys to values")
    return tree


def load_shipped(name: str) -> DictConfig:
    """Read a file of `lightvid.configs`."""
    return load_yaml(Path(str(files("lightvid.configs") / name)))


def load_saved(path: Path) -> DictConfig:
    """Read a saved configuration: of a run's `config.yaml`, the file beside it with its references.

    Raises:
        ConfigurationError: as `load_yaml`.
    """
    tree = load_yaml(path)
    linked = path.with_name(LINKED_FILE)
    if path.name == CONFIG_FILE and linked.exists():
        candidate = load_yaml(linked)
        # A configuration that somebody has edited since stands for itself.
        return candidate if resolve(candidate) == resolve(tree) else tree
    return tree


def save(tree: DictConfig, folder: Path) -> None:
    """Write a run's configuration: resolved, and beside it with its references, which later overrides follow.

    Each file is either the old or the new one, whole, at any moment; the resolved one counts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / CONFIG_FILE, yaml.safe_dump(resolve(tree), sort_keys=False))
    _write(folder / LINKED_FILE, OmegaConf.to_yaml(tree))


def resolve(tree: DictConfig) -> Plain:
    """A configuration as plain dictionaries, lists and values.

    Raises:
        ConfigurationError: a value that must be given and is not, or that refers to nothing or to itself.
    """
    with one_line_errors():
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn OmegaConf's reports on values that are missing or refer to nothing into one line each."""
    try:
        yield
    except MissingMandatoryValue as error:
        key = short_key(str(error.full_key))
        raise ConfigurationError(f"'{key}' is not given: add {key}=VALUE") from None
    except (InterpolationKeyError, InterpolationResolutionError) as error:
        raise ConfigurationError(
            f"'{short_key(str(error.full_key))}' has a wrong reference: {first_line(error)}"
        ) from None
    except RecursionError:
        raise ConfigurationError("the configuration refers to itself: look for ${...} values in a circle") from None


def short_key(key: str) -> str:
    """A key as a user writes it, without `init_args`."""
    return key.replace(".init_args", "")


def first_line(error: Exception) -> str:
    """Of an error's report; its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def as_mapping(tree: Any) -> DictConfig:
    """What OmegaConf answers for a mapping; it says less of its type."""
    assert isinstance(tree, DictConfig)
    return tree


def _write(path: Path, text: str) -> None:
    """Write beside the target, then rename: a run that is killed meanwhile can be resumed with the file before."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _yaml_problem(error: Exception) -> str:
    """What is wrong, and in which line, where YAML says so."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return first_line(error)
