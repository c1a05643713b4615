"""From a composed configuration to built parts: jsonargparse checks every value against the constructors it goes to."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lightvid.configuration import root_keys
from lightvid.configuration.files import Plain
from lightvid.configuration.reports import one_line
from lightvid.errors import ConfigurationError, LightvidError, nearest

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from jsonargparse import ArgumentParser, Namespace

FSDP_PRECISIONS = ("32-true", "bf16-mixed")


@dataclass
class Run:
    """What a configuration builds: everything that `trainer.fit(task, data)` needs."""

    task: pl.LightningModule
    data: pl.LightningDataModule
    trainer: pl.Trainer


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
    built = _make(lambda: parser.instantiate(values))
    options = {
        **vars(trainer_parser.instantiate(trainer_values).trainer),
        "callbacks": _values(built, "callbacks"),
        "logger": _values(built, "loggers"),
    }
    if plain["trainer"].get("enable_progress_bar") is None:
        options["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in options["callbacks"])
    if options["max_steps"] is None:
        raise ConfigurationError("'trainer.max_steps': expected int, got null (-1 is no limit)")
    options["strategy"] = _known_strategy(plain, built.task)
    if options["devices"] in (1, "1") and options["num_nodes"] == 1:
        options["strategy"] = "auto"  # one process needs no process group
    plugins = [AtomicCheckpointIO(), *(options["plugins"] or [])]
    trainer = _make(lambda: pl.Trainer(**{**options, "plugins": plugins}))
    _wait_for_the_batch_to_end(trainer)
    return Run(built.task, built.data, trainer)


def _known_strategy(plain: Plain, task: pl.LightningModule) -> Any:
    """Lightning keeps the name fsdp for a strategy of its own, which needs GPUs and folders of checkpoints."""
    options = plain["trainer"]
    name = options.get("strategy", "auto")
    kind = str(name["class_path"] if isinstance(name, dict) else name).rpartition(".")[2].lower()
    if kind == "fsdp":
        if (precision := str(options["precision"])) not in (*FSDP_PRECISIONS, "32"):
            raise ConfigurationError(
                f"trainer.strategy=fsdp takes trainer.precision={' or '.join(FSDP_PRECISIONS)}, not {precision}"
            )
        if plain.get("compile"):
            raise ConfigurationError("trainer.strategy=fsdp and compile=true exclude each other: leave one of them out")
        if not isinstance(task, import_module("lightvid.tasks").InstanceSegmentation):
            raise ConfigurationError(
                f"trainer.strategy=fsdp is for task=vis, not for {type(task).__name__}: "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )
        return "fully_sharded_segmenter"
    if kind.startswith(("fsdp", "deepspeed")):
        raise ConfigurationError(
            f"trainer.strategy={name} is not supported: task=vis takes fsdp, which divides parameters over the "
            "processes, all tasks take ddp_find_unused_parameters_true, and backbone=reversible or checkpoint saves "
            "memory"
        )
    if isinstance(name, str):
        _refuse_unknown(name)
    return name


def _refuse_unknown(strategy: str) -> None:
    """Raise a `ConfigurationError` for a name that Lightning would pass over on one device."""
    from pytorch_lightning.strategies import StrategyRegistry

    import_module("lightvid.tasks")  # registers ours
    known = {"auto", *StrategyRegistry.available_strategies()}
    if strategy.lower() not in known:
        valid = [name for name in known if not name.startswith(("deepspeed", "fsdp_", "fully_sharded"))]
        raise ConfigurationError(f"no trainer.strategy named '{strategy}': {nearest(strategy, valid)}")


def _wait_for_the_batch_to_end(trainer: pl.Trainer) -> None:
    """Let SIGTERM be remembered alone, until the processes ask each other for it at the start of a batch.

    Lightning's own handler sends a message to the other processes at once, which blocks for good if it comes between
    the messages of a backward pass.
    """
    connector = trainer._signal_connector

    def remember(number: Any, _: Any) -> None:
        if not connector.received_sigterm and trainer.strategy.launcher is not None:
            trainer.strategy.launcher.kill(number)
        connector.received_sigterm = True

    connector._sigterm_notifier_fn = remember  # type: ignore[method-assign, assignment]


def _make(constructor: Callable[[], Any]) -> Any:
    """Construct, and answer what a constructor refuses in one line."""
    try:
        return constructor()
    except Exception as error:
        # jsonargparse wraps what a constructor raises, several times over.
        causes: list[BaseException] = [error]
        while cause := causes[-1].__cause__ or causes[-1].__context__:
            causes.append(cause)
        if ours := [cause for cause in causes if isinstance(cause, LightvidError)]:
            raise ours[0] from error
        raise ConfigurationError(f"{type(causes[-1]).__name__}: {' '.join(str(causes[-1]).split())}") from error


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
            raise ConfigurationError(one_line(str(error), plain)) from None
    return parsed


def _check_sections(plain: Plain) -> None:
    known = root_keys()
    for key in plain:
        if key not in known:
            raise ConfigurationError(f"unknown key '{key}': {nearest(key, known)}")
    for section in ("trainer", "task", "data", "callbacks", "loggers"):
        if not isinstance(plain.get(section), dict):
            raise ConfigurationError(f"'{section}' is missing from the configuration or is not a mapping")


def _values(built: Any, section: str) -> list[Any]:
    group = built.get(section)
    return list(vars(group).values()) if group else []
