"""Loggers of every run: a CSV file that a resumed run goes on with, W&B without an account, TensorBoard by choice."""

from __future__ import annotations

import csv
import os
import secrets
import subprocess
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

METRICS_FILE = "metrics.csv"
ID_FILE = "wandb_id.txt"
ID_KEY = "wandb_id"  # of checkpoints


class RunCSVLogger(CSVLogger):
    """`metrics.csv` in the run folder; a resumed run appends to it, where Lightning's logger would start a new file."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=50)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, which knows the columns that are in the file already."""
        if self._experiment is None:
            file = Path(self.save_dir) / METRICS_FILE
            aside = file.with_suffix(".partial")
            if file.exists():
                os.replace(file, aside)  # out of reach of the writer, which removes what it finds
            writer = CSVLogger.experiment.fget(self)  # type: ignore[attr-defined]
            if aside.exists():
                with aside.open(newline="") as stream:
                    writer.metrics_keys = next(csv.reader(stream), [])
                os.replace(aside, file)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        """Write the rows since the last time; where there is no room they wait, with a warning, and the run goes on."""
        writer, file = self.experiment, Path(self.save_dir) / METRICS_FILE
        columns, size = list(writer.metrics_keys), file.stat().st_size if file.exists() else 0
        # For a new column, Lightning writes the whole file again.
        is_wider = size > 0 and not set().union(*writer.metrics) <= set(columns)
        before = file.read_bytes() if is_wider else None
        try:
            super().save()
        except OSError as error:
            warnings.warn(f"{file}: cannot be written ({error.strerror}), its rows wait for room", stacklevel=2)
            writer.metrics_keys = columns
            with suppress(OSError):
                file.write_bytes(before) if before is not None else os.truncate(file, size)


class RunWandbLogger(WandbLogger):
    """W&B in the run folder.

    Args:
        save_dir: the run folder.
        project: W&B project.
        name: of the run there.
        mode: `auto` is `online` for a user who is logged in and `offline` otherwise; offline runs are sent later with
            `wandb sync`. `disabled` writes nothing.
        keep_best: store the best checkpoint as an artifact at the end of training; that of an offline run waits as a
            copy in W&B's data folder for `wandb sync`.
    """

    def __init__(
        self,
        save_dir: str,
        *,
        project: str = "lightvid",
        name: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        keep_best: bool = True,
    ) -> None:
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")  # type: ignore[assignment]
        super().__init__(
            name=name,
            save_dir=save_dir,
            project=project,
            mode=mode,
            id=_run_id(Path(save_dir)),
            settings=wandb.Settings(silent=True),
        )
        self._wandb_init.pop("anonymous", None)  # Lightning passes it, and W&B warns that it has no effect
        self._keeps_best = keep_best and mode != "disabled"
        self._best: ModelCheckpoint | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run, whose id is kept in its folder, so that a resumed run goes on in the same one."""
        if self._experiment is None:
            folder = Path(str(self.save_dir))
            folder.mkdir(parents=True, exist_ok=True)
            run = WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]
            (folder / ID_FILE).write_text(str(run.id))  # an agent of a sweep gives its runs other ids
        return self._experiment

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        """Remember who knows the best checkpoint; Lightning gives a logger the model once a fit is restored.

        Not only when one is saved: a resumed run may not surpass the best that it began with.
        """
        if isinstance(model, pl.LightningModule) and model.trainer.state.fn == TrainerFn.FITTING:
            known = (c for c in model.trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint))
            self._best = next(known, None)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Store the best checkpoint of a training that has ended, also by an interrupt."""
        best, self._best = self._best, None
        if best is None or not self._keeps_best or self._experiment is None or not Path(best.best_model_path).is_file():
            return
        score = None if best.best_model_score is None else float(best.best_model_score)
        about = {"monitor": best.monitor, "score": score, "path": best.best_model_path}
        artifact = wandb.Artifact(f"checkpoint-{self.experiment.id}", "model", metadata=about)
        try:
            artifact.add_file(best.best_model_path, "best.ckpt")
        except OSError as error:  # the training is done, and the checkpoint in the run folder
            warnings.warn(f"{best.best_model_path}: not stored in W&B ({error})", stacklevel=2)
            return
        self.experiment.log_artifact(artifact, aliases=["best"])


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard in the run folder, under `tensorboard`; needs the package of that name."""

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="tensorboard")


def code_version() -> dict[str, Any]:
    """The commit of the repository that the running code is checked out from, and whether its files have changed since.

    Returns:
        `git_commit` and `git_dirty`; empty if the code is installed from elsewhere.
    """
    folder = Path(__file__).resolve().parent
    try:
        # only a repository that this very file belongs to: an environment may lie in another one
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return {"git_commit": _git(folder, "rev-parse", "HEAD"), "git_dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return {}


@rank_zero_only
def remember_run(run_folder: Path, checkpoint: Mapping[str, Any]) -> None:
    """Let a run that is resumed from a checkpoint alone go on in its W&B run: the id is in both."""
    file = run_folder / ID_FILE
    if not file.exists() and isinstance(number := checkpoint.get(ID_KEY), str):
        file.write_text(number)


@rank_zero_only
def forget_rows_from(run_folder: Path, step: int) -> None:
    """Drop the metrics that a run wrote at `step` (in batches) and later, before it goes on from there.

    A last row that was cut off is dropped, too.
    """
    file = run_folder / METRICS_FILE
    if not file.exists():
        return
    with file.open(newline="") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or [])
        rows = [row for row in reader if None not in row.values() and row["step"].isdigit() and int(row["step"]) < step]
    partial = file.with_suffix(".partial")
    with partial.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, file)


def _run_id(folder: Path) -> str:
    file = folder / ID_FILE
    return file.read_text().strip() if file.exists() else secrets.token_hex(4)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _logged_in() -> bool:
    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error:
        return False
