"""What a resumed run keeps, and how its learning rates go on where their schedule is another."""

from __future__ import annotations

import inspect
import pkgutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.core.optimizer import _init_optimizers_and_lr_schedulers

from lightvid.errors import ConfigurationError

from .parameter_groups import FineTuning

# What the state of a restored optimiser, schedule or average decides, and what it is where it is not said.
KEPT = {
    **asdict(FineTuning()),
    "learning_rate_factors": None,
    "flow_learning_rate_factor": 1.0,
    "schedule_interval": "step",
    "ema_decay": None,
}


def refuse_changes(saved: Mapping[str, Any], task: Mapping[str, Any]) -> None:
    """Hold a resumed run to what its checkpoint decides: optimisers, groups and rates come from their state.

    Args:
        saved: the task's configuration in the checkpoint; what it does not say was at its default.
        task: the task's configuration now.

    Raises:
        ConfigurationError: an option of `KEPT`, an optimiser or one of its arguments is another.
    """
    defaults = KEPT if saved else asdict(FineTuning())  # the rest is older than configurations in checkpoints
    former = dict(_values(saved, lambda name: name in KEPT))
    for key, value in _values(task, lambda name: name in KEPT):
        name = key.rpartition(".")[2]
        before = former.get(key, defaults.get(name, value))
        # An average may go on with another decay; it cannot begin or end.
        same = (value is None) == (before is None) if name == "ema_decay" else (value or None) == (before or None)
        if not same:
            raise _refusal(key, value, before)
    former = dict(_values(saved, _is_optimizer))
    for key, value in _values(task, _is_optimizer):
        if key in former:
            given, was = _written_out(value), _written_out(former[key])
            for option in [*given, *was]:
                if given.get(option) != was.get(option):
                    raise _refusal(f"{key}.{option}", given.get(option), was.get(option))


def follow_schedule(checkpoint: dict[str, Any], configuration: Mapping[str, Any], task: pl.LightningModule) -> None:
    """Let a resumed run follow its schedule where this is another than in the checkpoint, such as for more steps.

    The new schedule goes on as if the run had had it from its beginning: made for new optimisers and stepped as often
    as the former. Its state and the optimisers' rates take the place of those in the checkpoint; nothing changes where
    the schedule is the same.

    Args:
        checkpoint: of the run, before optimisers and schedules are restored from it.
        configuration: of the task now.
        task: with all its parameters.
    """
    former = dict(_values(checkpoint.get("lightvid_config", {}).get("task", {}), _is_schedule))
    now = _values(configuration, _is_schedule)
    if all(_written_out(value) == _written_out(former[key]) for key, value in now if key in former):
        return
    steps = _schedule_steps(checkpoint, task)
    optimizers, configs = _init_optimizers_and_lr_schedulers(task)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")  # the optimisers never step
        for _ in range(steps):
            for config in configs:
                config.scheduler.step()  # type: ignore[call-arg]
    checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in configs]
    for state, optimizer in zip(checkpoint["optimizer_states"], optimizers, strict=False):
        groups = optimizer.state_dict()["param_groups"]
        if [group["params"] for group in groups] == [group["params"] for group in state["param_groups"]]:
            state["param_groups"] = groups  # other groups are refused when they are restored
    if task.trainer.is_global_zero:
        rates = ", ".join(f"{optimizer.param_groups[0]['lr']:.4g}" for optimizer in optimizers)
        print(f"The learning rate schedule has changed: its step {steps} comes next, with a rate of {rates}")


def _schedule_steps(checkpoint: Mapping[str, Any], task: pl.LightningModule) -> int:
    """How often the schedules of a checkpoint have stepped; without any, how often they would have."""
    if counts := [state["last_epoch"] for state in checkpoint["lr_schedulers"] if "last_epoch" in state]:
        return int(max(counts))
    if getattr(task, "schedule_interval", "step") == "epoch":
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    return int(checkpoint["global_step"])


def _is_optimizer(name: str) -> bool:
    return name == "optimizer" or name.endswith("_optimizer")


def _is_schedule(name: str) -> bool:
    return name == "schedule"


def _values(tree: Mapping[str, Any], is_wanted: Callable[[str], bool], path: str = "task") -> Iterator[tuple[str, Any]]:
    """The wanted options in a task's configuration, by the keys that a user writes."""
    for name, value in tree.items():
        if is_wanted(name):
            yield f"{path}.{name}", value
        elif isinstance(value, Mapping):
            yield from _values(value, is_wanted, path if name == "init_args" else f"{path}.{name}")


def _written_out(part: Any) -> dict[str, Any]:
    """A configured class as its `class_path` and all its arguments, those that are not given by their defaults."""
    chosen = part if isinstance(part, Mapping) else {"class_path": part}
    path = chosen["class_path"]
    try:
        parameters = inspect.signature(pkgutil.resolve_name(path)).parameters if path else {}
    except (ImportError, AttributeError, TypeError, ValueError):
        parameters = {}  # compared as it is written
    arguments = {name: p.default for name, p in parameters.items() if p.default is not p.empty}
    arguments |= chosen.get("init_args") or {}
    return {
        "class_path": path,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()},
    }


def _refusal(key: str, value: Any, before: Any) -> ConfigurationError:
    now, then = ("null" if given is None else given for given in (value, before))
    return ConfigurationError(
        f"{key}={now} was {then} when this run began: a resumed run keeps it, init_from begins a new one with its"
        " weights"
    )
