"""Runs whose every step is written down, the same way in one process and in each of two."""

from typing import Any

import pytorch_lightning as pl

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.tasks.callbacks import LastCheckpoint

QUIET = (
    "trainer.limit_val_batches=0",
    "loggers={}",
    "callbacks.best=null",
    "callbacks.last=null",
    "callbacks.pictures=null",
    "callbacks.learning_rate=null",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)


class Watch(pl.Callback):
    """Keeps what each step saw and what it answered."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.files: list[list[str]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        parts = batch.values() if isinstance(batch, dict) else [batch]
        self.files.append([file for part in parts for file in part.files])
        logged = trainer.callback_metrics.items()
        self.losses.append({name: float(value) for name, value in logged if name.startswith("loss/")})


def observe(arguments: list[str], *, resume: str | None = None, save: str | None = None) -> dict[str, Any]:
    """Train, validate, and tell; `save` is a folder, which gets `last.ckpt` at the last step."""
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    watch = Watch()
    run.trainer.callbacks.append(watch)
    if save is not None:
        run.trainer.callbacks.append(LastCheckpoint(save))
    start = {name: value.clone() for name, value in run.task.state_dict().items()}
    run.trainer.fit(run.task, run.data, ckpt_path=resume, weights_only=True)
    trained = {name: value.clone() for name, value in run.task.state_dict().items()}
    run.trainer.limit_val_batches = 1.0
    run.trainer.validate(run.task, run.data, verbose=False)
    metrics = {name: float(value) for name, value in run.trainer.callback_metrics.items() if "loss/" not in name}
    return {"losses": watch.losses, "files": watch.files, "start": start, "weights": trained, "metrics": metrics}
