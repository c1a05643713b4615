"""When a run saves checkpoints, and what they hold besides the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import CombinedLoader

from ..resuming import follow_schedule
from ..tracking import ID_KEY


class LastCheckpoint(Checkpoint):
    """Save `last.ckpt` every so many generator steps and at the end, and again after a validation on the same step.

    Args:
        dirpath: folder of the checkpoint.
        every_n_train_steps: generator steps between two saves.
    """

    def __init__(self, dirpath: str, *, every_n_train_steps: int = 200) -> None:
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_train_steps = every_n_train_steps
        self._saved_step = 0
        self._is_fresh = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run has saved the step that it resumes from."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a multiple of the interval has just been reached: not between accumulated batches."""
        step = trainer.global_step
        due = step % self.every_n_train_steps == 0 or step == trainer.max_steps
        self._is_fresh = due and step != self._saved_step
        if self._is_fresh:
            self._saved_step = step
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the checkpoint know this validation's result, so that a resumed run keeps its best."""
        if self._is_fresh and trainer.state.fn == TrainerFn.FITTING:
            trainer.save_checkpoint(self.path, weights_only=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what epochs, time or an early stop have ended between two saves."""
        if trainer.global_step != self._saved_step:
            self._saved_step = trainer.global_step
            trainer.save_checkpoint(self.path, weights_only=False)


class SaveConfiguration(Callback):
    """Store the configuration in every checkpoint: `load_from_checkpoint` and `lightvid.checkpoints` build from it.

    Args:
        configuration: of the run.
        on_start: called by the first process when training begins, a checkpoint to resume from having been restored.
    """

    def __init__(self, configuration: dict[str, Any], *, on_start: Callable[[], None] | None = None) -> None:
        self.configuration = configuration
        self.on_start = on_start

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the learning rates follow a schedule that has changed."""
        follow_schedule(checkpoint, self.configuration["task"], pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Call `on_start` if the checkpoint fits; what is left of its epoch is known only now.

        Raises:
            ConfigurationError: the loaders would go on with other clips, see `ResumableLoader.check_resumed`.
        """
        fit = trainer.fit_loop
        epoch = fit.epoch_progress.current.processed  # type: ignore[attr-defined]
        # after the last batch, Lightning ends this epoch without asking for another
        goes_on = not fit.epoch_loop.batch_progress.is_last_batch
        for loader in CombinedLoader(trainer.train_dataloader).flattened:
            if goes_on and callable(check_resumed := getattr(loader, "check_resumed", None)):
                check_resumed(epoch)
        if self.on_start is not None and trainer.is_global_zero:
            self.on_start()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration, also in the form that `LightningModule.load_from_checkpoint` reads."""
        task = self.configuration["task"]
        checkpoint["lightvid_config"] = self.configuration
        checkpoint[pl.LightningModule.CHECKPOINT_HYPER_PARAMS_KEY] = {
            "_instantiator": "pytorch_lightning.cli.instantiate_module",
            "_class_path": task["class_path"],
            **task["init_args"],
        }
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger) and logger.version is not None:
                checkpoint[ID_KEY] = str(logger.version)
