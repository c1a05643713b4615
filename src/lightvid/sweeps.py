"""Files of W&B sweeps, and a search over their parameters that needs no server."""

from __future__ import annotations

import itertools
import json
import math
import random
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from lightvid.errors import ConfigurationError, nearest

Spec = dict[str, Any]
Choice = dict[str, Any]

LIMITS = ("min", "max")


def load_sweep(name: str) -> Spec:
    """Read a sweep's file, by its path or by the name of one of `configs/sweep`.

    Raises:
        ConfigurationError: there is none, it has no parameters, metric or command, or a wrong one of them.
    """
    own = {Path(entry.name).stem: str(entry) for entry in (files("lightvid.configs") / "sweep").iterdir()}
    path = Path(own.get(name, name))
    if not path.is_file():
        raise ConfigurationError(f"no sweep named '{name}', and no such file: {nearest(name, own)}")
    try:
        spec = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not a readable YAML file ({str(error).splitlines()[0]})") from None
    for key, kind in (("parameters", dict), ("metric", dict), ("command", list), ("method", str)):
        if not isinstance(spec, dict) or not isinstance(spec.get(key), kind):
            raise ConfigurationError(f"{path}: a sweep needs '{key}', see configs/sweep/inpaint.yaml")
    if not str(spec["metric"].get("name", "")).startswith("val/"):
        raise ConfigurationError(f"{path}: metric.name must be one of the validation, such as val/hole_psnr")
    if spec["metric"].get("goal", "minimize") not in ("minimize", "maximize"):
        raise ConfigurationError(f"{path}: metric.goal is minimize or maximize, got '{spec['metric']['goal']}'")
    parameters = {name: _checked(f"{path}: parameters.{name}", value) for name, value in spec["parameters"].items()}
    name = str(spec.get("name", path.stem))  # of a folder, too
    return {"project": "lightvid", **spec, "name": name, "parameters": parameters}


def choices(spec: Spec, seed: int) -> Iterator[Choice]:
    """The values of one run after the other: all combinations, or random ones without end.

    Raises:
        ConfigurationError: a method or distribution that needs W&B.
    """
    parameters = spec["parameters"]
    if spec["method"] == "grid":
        values = [_values(name, parameter) for name, parameter in parameters.items()]
        for combination in itertools.product(*values):
            yield dict(zip(parameters, combination, strict=True))
        return
    if spec["method"] != "random":
        raise ConfigurationError(f"method {spec['method']} needs W&B: without --local, or method: random or grid")
    generator = random.Random(seed)
    while True:
        yield {name: _draw(name, parameter, generator) for name, parameter in parameters.items()}


def command_of(spec: Spec, choice: Choice) -> list[str]:
    """What starts a run, as W&B's agent would.

    Raises:
        ConfigurationError: a macro that only the agent knows.
    """
    macros = {
        "${env}": [],
        "${interpreter}": [sys.executable],
        "${args_no_hyphens}": [f"{name}={_as_yaml(value)}" for name, value in choice.items()],
    }
    parts: list[str] = []
    for part in map(str, spec["command"]):
        if part.startswith("${") and part not in macros:
            raise ConfigurationError(f"command: {part} is not known here: {nearest(part, macros)}")
        parts += macros.get(part, [part])
    return parts


def _checked(label: str, parameter: Any) -> dict[str, Any]:
    """A parameter, its limits as numbers: `1e-4` without a point is text in YAML."""
    if not isinstance(parameter, dict):
        raise ConfigurationError(f"{label}: expected a mapping such as {{values: [1, 2]}}, got {parameter}")
    if "values" in parameter and (not isinstance(parameter["values"], list) or not parameter["values"]):
        raise ConfigurationError(f"{label}.values: expected a list, got {parameter['values']}")
    if (weights := parameter.get("probabilities")) is not None:
        values = parameter.get("values", [])
        numbers = isinstance(weights, list) and all(isinstance(w, int | float) and 0 <= w < math.inf for w in weights)
        if not numbers or len(weights) != len(values) or not sum(weights):
            raise ConfigurationError(f"{label}.probabilities: expected {len(values)} numbers, got {weights}")
    return {key: _number(f"{label}.{key}", value) if key in LIMITS else value for key, value in parameter.items()}


def _number(label: str, value: Any) -> int | float:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        number = float(value) if isinstance(value, str | float) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"{label}: expected a number, got {value}")
    return number


def _as_yaml(value: Any) -> str:
    """A value as `key=value` takes it; text goes as it stands."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _values(name: str, parameter: Mapping[str, Any]) -> list[Any]:
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return list(parameter["values"])
    raise ConfigurationError(f"parameters.{name}: a grid needs value or values")


def _draw(name: str, parameter: Mapping[str, Any], generator: random.Random) -> Any:
    if "value" in parameter or "values" in parameter:
        return generator.choices(_values(name, parameter), parameter.get("probabilities"))[0]
    low, high = parameter.get("min"), parameter.get("max")
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low > high:
        raise ConfigurationError(f"parameters.{name}: expected value, values, or numbers min and max")
    whole = isinstance(low, int) and isinstance(high, int)
    distribution = parameter.get("distribution", "int_uniform" if whole else "uniform")
    if distribution == "int_uniform" and whole:
        return generator.randint(int(low), int(high))
    if distribution == "uniform":
        return generator.uniform(low, high)
    if distribution == "log_uniform_values" and low > 0:
        return math.exp(generator.uniform(math.log(low), math.log(high)))
    raise ConfigurationError(
        f"parameters.{name}: {distribution} from {low} to {high} needs W&B: without --local, or int_uniform (whole"
        " numbers), uniform or log_uniform_values (above 0)"
    )
