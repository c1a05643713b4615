"""Train or evaluate what a configuration describes, in a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import wandb
from omegaconf import DictConfig

from lightvid.building import Run, build
from lightvid.checkpoint_reading import read
from lightvid.checkpoints.transfer import locate
from lightvid.configuration import compose, compose_linked, holds_a_run
from lightvid.configuration.files import CONFIG_FILE, resolve, save
from lightvid.errors import CheckpointError, ConfigurationError, nearest
from lightvid.launch import RUN_DIR, is_main
from lightvid.run_lock import RunLock
from lightvid.run_report import report, resume_command
from lightvid.training_errors import in_one_line


def train(arguments: Sequence[str]) -> Path:
    """Train, evaluate the best checkpoint, print the table and what the run folder holds.

    Args:
        arguments: `key=value` as for `lightvid.configuration.compose`, and `resume=RUN` (a run folder, or one of its
            checkpoints) or `config=FILE` (a saved configuration, run again in a new folder). `init_from=CHECKPOINT`
            begins a new run with what fits of a trained network, see `lightvid.checkpoints.transfer.initialise`.

    Returns:
        The run folder.

    Raises:
        LightvidError: a mistake of the user, in one line.
    """
    special, rest = _take(arguments, ("resume", "config"))
    if len(special) == 2:
        raise ConfigurationError(
            "resume and config exclude each other: resume goes on with a run, config starts a new one"
        )
    checkpoint = _checkpoint_to_resume(special["resume"]) if "resume" in special else None
    if checkpoint is not None:
        _refuse_start(rest)
        folder = checkpoint.parent.parent
        content = read(checkpoint)
        batches = _batches_before(content, checkpoint)
        began_with = content.get("lightvid_config", {}).get("task", {})
        import_module("lightvid.tasks.tracking").remember_run(folder, content)
        del content
        tree = compose_linked(rest, saved=folder / CONFIG_FILE, run_dir=str(folder))
    else:
        tree = compose_linked(rest, saved=Path(special["config"]) if "config" in special else None)
        folder = Path(str(tree.run_dir))
        _refuse_taken(folder)
        if (source := tree.get("init_from")) is not None:
            locate(str(source))  # before anything is built
    with RunLock(folder) as lock, in_one_line(folder), _wandb_run():
        run = _prepare(tree, folder, lock, batches=None if checkpoint is None else batches)
        if checkpoint is not None:
            import_module("lightvid.tasks.resuming").refuse_changes(began_with, resolve(tree)["task"])
            # the checkpoint has all weights, and what the run began with may be gone
            run.task.init_from = None  # type: ignore[assignment]
        _fit(run, folder, checkpoint)
        best = folder / "checkpoints" / "best.ckpt"
        _validate(run, best if best.exists() else None)
        report(run, folder)
    return folder


@contextmanager
def _wandb_run() -> Iterator[None]:
    """Close W&B's run, or the next run of this process would be written into it; one that fails is marked so."""
    failed = True
    try:
        yield
        failed = False
    finally:
        wandb.finish(exit_code=int(failed))


def _fit(run: Run, folder: Path, checkpoint: Path | None) -> None:
    last = folder / "checkpoints" / "last.ckpt"
    try:
        run.trainer.fit(run.task, run.data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to an interrupt from the keyboard
        way_on = (
            f"go on from its last checkpoint with: {resume_command(folder)}" if last.exists() else "nothing saved yet"
        )
        print(f"Stopped at step {run.trainer.global_step}; {way_on}")
        raise


def evaluate(arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    """Measure a checkpoint of a run, and the baselines on the same clips: `run=RUN [checkpoint=best] [key=value ...]`.

    Raises:
        LightvidError: a mistake of the user, in one line.
    """
    special, rest = _take(arguments, ("run", "checkpoint"))
    if "run" not in special:
        raise ConfigurationError("evaluate needs run=RUN_FOLDER, such as run=runs/inpaint/reversible-sample")
    folder = Path(special["run"])
    name = special.get("checkpoint", "best")
    checkpoint = Path(name) if name.endswith(".ckpt") else folder / "checkpoints" / f"{name}.ckpt"
    if not checkpoint.is_file():
        last = checkpoint.with_name("last.ckpt")
        hint = "; the run has not been validated yet, checkpoint=last takes its last one" if last.is_file() else ""
        raise CheckpointError(f"{checkpoint}: no such checkpoint{hint}")
    read(checkpoint)  # or Lightning would say in its own way what is wrong with it
    plain = compose(rest, saved=folder / CONFIG_FILE, run_dir=str(folder))
    kept = {name: plain["callbacks"].get(name) for name in ("progress", "skipped")}
    run = build({**plain, "loggers": {}, "callbacks": kept})
    with in_one_line(folder):
        _validate(run, checkpoint)
    return report(run, folder, save=False)


def _validate(run: Run, checkpoint: Path | None) -> None:
    run.trainer.validate(run.task, run.data, ckpt_path=checkpoint, verbose=False, weights_only=True)


def _take(arguments: Sequence[str], keys: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    pairs = [argument.partition("=") for argument in arguments]
    special = {key: value for key, _, value in pairs if key in keys}
    return special, [argument for argument, (key, _, _) in zip(arguments, pairs, strict=True) if key not in keys]


def _checkpoint_to_resume(given: str) -> Path:
    path = Path(given)
    checkpoint = path if path.suffix == ".ckpt" else path / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        near = [run.name for run in path.parent.iterdir() if run.is_dir()] if path.parent.is_dir() else []
        raise CheckpointError(
            f"{checkpoint}: nothing to resume. Runs in {path.parent}: {nearest(path.name, near) if near else 'none'}"
        )
    return checkpoint


def _refuse_start(arguments: Sequence[str]) -> None:
    if any(argument.startswith("init_from=") for argument in arguments):
        raise ConfigurationError(
            "resume and init_from exclude each other: resume goes on with a run, init_from begins one with trained"
            " weights"
        )


def _refuse_taken(folder: Path) -> None:
    if holds_a_run(folder) and is_main():
        raise ConfigurationError(
            f"{folder} holds a run already: resume={folder} goes on with it, name=NAME starts another"
        )


def _prepare(tree: DictConfig, folder: Path, lock: RunLock, *, batches: int | None) -> Run:
    """Build everything, take the run folder and leave the configuration in it.

    Args:
        batches: that a resumed run has been trained on; None for a new one. Its folder is left as it is until the
            checkpoint is restored: with one that does not fit, its configuration and metrics would be lost.
    """
    new = batches is None
    plain = resolve(tree)
    _check_interval(plain["trainer"].get("val_check_interval"))
    pl.seed_everything(plain.get("seed", 0), workers=True, verbose=False)
    run = build(plain)
    if (compiled := plain.get("compile", False)) not in (True, False):
        raise ConfigurationError(f"compile is true or false, got '{compiled}'")
    if compiled:
        if not callable(compile_networks := getattr(run.task, "compile_networks", None)):
            raise ConfigurationError(f"compile=true: {type(run.task).__name__} has no compile_networks(), as Task has")
        compile_networks()  # in place: names in checkpoints stay as they are
    # Processes that Lightning starts for further devices compose the configuration again and must find this folder.
    os.environ[RUN_DIR] = str(folder)
    callbacks = import_module("lightvid.tasks.callbacks")
    on_start = None if batches is None else partial(_go_on, run, tree, folder, batches)
    run.trainer.callbacks.insert(0, callbacks.SaveConfiguration(plain, on_start=on_start))  # type: ignore[attr-defined]
    if run.trainer.is_global_zero:
        lock.take()
        if new:
            _refuse_taken(folder)  # by a run that has ended since
            save(tree, folder)
        print(f"Run folder: {folder}")
    if new:
        _log_configuration(run, plain)
    return run


def _check_interval(interval: object) -> None:
    if isinstance(interval, int | float) and interval <= 0:
        raise ConfigurationError(
            f"trainer.val_check_interval={interval} counts batches between validations: expected at least 1;"
            " trainer.limit_val_batches=0 leaves validation out"
        )


def _go_on(run: Run, tree: DictConfig, folder: Path, batches: int) -> None:
    """Change what is in the folder of a resumed run to how it goes on."""
    import_module("lightvid.tasks.tracking").forget_rows_from(folder, batches)
    save(tree, folder)
    _log_configuration(run, resolve(tree))


def _log_configuration(run: Run, plain: dict[str, Any]) -> None:
    version = import_module("lightvid.tasks.tracking").code_version()
    for logger in run.trainer.loggers:
        logger.log_hyperparams({**plain, **version})


def _batches_before(content: Mapping[str, Any], checkpoint: Path) -> int:
    """How many batches had been trained on: the step axis of the loggers."""
    try:
        return int(content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"])
    except (KeyError, TypeError):
        raise CheckpointError(f"{checkpoint}: not a checkpoint that a run can be resumed from") from None
