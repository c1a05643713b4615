"""What a run says while it trains: the progress bar and the clips that were left out."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.trainer.states import TrainerFn


class LossProgressBar(TQDMProgressBar):
    """A progress bar with the losses alone, without the logger's version."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("loss/"): value for name, value in metrics.items() if name != "v_num"}


class ReportSkippedClips(Callback):
    """Say at the end of each epoch, validation and run how many clips could not be read and were left out, and why."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the clips skipped in this epoch."""
        self._report(trainer, "training")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what was skipped until the end of this validation."""
        self._report(trainer, "training and validation" if trainer.state.fn == TrainerFn.FITTING else "validation")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report what an unfinished epoch skipped."""
        self._report(trainer, "training")

    def _report(self, trainer: pl.Trainer, stage: str) -> None:
        skipped = getattr(trainer.datamodule, "skipped", None)  # type: ignore[attr-defined]
        if not skipped:
            return
        reasons = sorted(set(skipped))
        shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
        # On every process: each reads its own clips.
        warnings.warn(f"epoch {trainer.current_epoch}, {stage}: skipped {len(skipped)} clips ({shown})", stacklevel=2)
        for logger in trainer.loggers:
            logger.log_metrics({"skipped_clips": len(skipped)}, step=trainer.fit_loop.total_batch_idx + 1)
        skipped.clear()
