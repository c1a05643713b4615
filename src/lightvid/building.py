"""From a composed configuration to built parts: jsonargparse checks every value against the constructors it goes to."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightvid.configuration import root_keys
from lightvid.configuration.files import Plain, short_key
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
    options["strategy"] = _known_strategy(plain)
    if options["devices"] in (1, "1") and options["num_nodes"] == 1:
        options["strategy"] = "auto"  # one process needs no process group
    plugins = [AtomicCheckpointIO(), *(options["plugins"] or [])]
    trainer = _make(lambda: pl.Trainer(**{**options, "plugins": plugins}))
    _wait_for_the_batch_to_end(trainer)
    return Run(built.task, built.data, trainer)


def _known_strategy(plain: Plain) -> Any:
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
        return "fully_sharded_segmenter"
    if kind.startswith(("fsdp", "deepspeed")):
        raise ConfigurationError(
            f"trainer.strategy={name} is not supported: task=vis takes fsdp, which divides parameters over the "
            "processes, all tasks take ddp_find_unused_parameters_true, and backbone=reversible or checkpoint saves "
            "memory"
        )
    return name


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
            raise ConfigurationError(_one_line(str(error), plain)) from None
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


def _one_line(message: str, plain: Plain) -> str:
    """Reduce jsonargparse's nested report to its deepest finding, and add the nearest valid key to a misspelt one."""
    key = ".".join(re.findall(r'Parser key "([^"]+)":', message))
    if match := re.search(
        r"Option '([^']+)' is not accepted|Group '([^']+)' does not accept option '([^']+)'", message
    ):
        owner, option = (key, match[1]) if match[1] else (match[2], match[3])
        return f"unknown key '{short_key(owner)}.{option}': {nearest(option, _valid_options(owner, plain))}"
    finding = _finding(message)
    kinds = [kind for kind in re.findall(r"Expected an? (.+?)(?:\. Got value|$)", finding, re.M) if "path" not in kind]
    kinds += [f"a class_path of a {kind}" for kind in re.findall(r"Not a valid subclass of (\w+)", finding)]
    if not kinds:
        lines = [line.strip().removeprefix("- ") for line in finding.splitlines()]
        cause = next((line for line in reversed(lines) if line and not line.startswith("Problem with given")), message)
        return f"'{short_key(key)}': {cause}" if key else cause
    names = [re.sub(r"<class '(?:[\w.]+\.)?(\w+)'>|(?:typing|collections\.abc)\.", r"\1", kind) for kind in kinds]
    expected = " or ".join(dict.fromkeys("null" if name == "NoneType" else name for name in names))
    got = re.search(r"(?:Got|Given) value: (.*?)(?:\. Got value: .*)?$", finding, re.M)
    return f"'{short_key(key)}': expected {expected}" + (f", got '{got[1]}'" if got else "")


def _finding(message: str) -> str:
    """The part of a nested report that is about its innermost key: what is indented below it."""
    lines = message.splitlines()
    last = max((index for index, line in enumerate(lines) if 'Parser key "' in line), default=-1)
    if last < 0:
        return message
    depth = len(lines[last]) - len(lines[last].lstrip())
    below = itertools.takewhile(lambda line: not line or len(line) - len(line.lstrip()) > depth, lines[last + 1 :])
    return "\n".join([lines[last].rpartition('":')[2], *below])


def _valid_options(owner: str, plain: Plain) -> list[str]:
    from jsonargparse import ArgumentParser

    if owner == "trainer":
        import pytorch_lightning as pl

        targets: list[Any] = [pl.Trainer]
    else:
        node: Any = plain
        for step in owner.split("."):
            node = node["init_args"] if "class_path" in node and step not in node else node
            node = node[step]
        # The report does not say which element of a list it means.
        targets = [_class(element["class_path"]) for element in (node if isinstance(node, list) else [node])]
    options: list[str] = []
    for target in targets:
        parser = ArgumentParser()
        parser.add_class_arguments(target, "target")
        options += [str(key) for key in vars(parser.get_defaults().target)]
    return options


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)
