"""Loggers of every run: a CSV file that a resumed run goes on with, and W&B without an account."""

from __future__ import annotations

import csv
import os
import secrets
from pathlib import Path
from typing import Any, Literal

import wandb
from pytorch_lightning.loggers import CSVLogger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

METRICS_FILE = "metrics.csv"
ID_FILE = "wandb_id.txt"


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


class RunWandbLogger(WandbLogger):
    """W&B in the run folder.

    Args:
        save_dir: the run folder.
        project: W&B project.
        name: of the run there.
        mode: `auto` is `online` for a user who is logged in and `offline` otherwise; offline runs are sent later with
            `wandb sync`. `disabled` writes nothing.
    """

    def __init__(
        self,
        save_dir: str,
        *,
        project: str = "lightvid",
        name: str | None = None,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
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

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run, whose id is kept in its folder, so that a resumed run goes on in the same one."""
        if self._experiment is None:
            folder = Path(str(self.save_dir))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ID_FILE).write_text(str(self._wandb_init["id"]))
        return WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]


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


def _logged_in() -> bool:
    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error:
        return False
