"""Loggers of every run: a CSV file that a resumed run goes on with, and W&B without an account."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger, WandbLogger

METRICS_FILE = "metrics.csv"


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
            earlier = file.read_text() if file.exists() else ""
            file.unlink(missing_ok=True)
            writer = CSVLogger.experiment.fget(self)  # type: ignore[attr-defined]
            if earlier:
                file.write_text(earlier)
                writer.metrics_keys = next(csv.reader(earlier.splitlines()))
        return self._experiment


class RunWandbLogger(WandbLogger):
    """W&B in the run folder.

    Args:
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
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        super().__init__(name=name, save_dir=save_dir, project=project, mode=mode, settings=wandb.Settings(silent=True))


def forget_rows_from(run_folder: Path, step: int) -> None:
    """Drop the metrics that a run wrote at `step` and later, before it goes on from a checkpoint of that step."""
    file = run_folder / METRICS_FILE
    if not file.exists():
        return
    with file.open(newline="") as stream:
        reader = csv.DictReader(stream)
        columns, rows = list(reader.fieldnames or []), [row for row in reader if int(row["step"]) < step]
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def _logged_in() -> bool:
    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error:
        return False
