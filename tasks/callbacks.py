"""Callbacks of every run: reproducible randomness, skipped clips, the configuration in checkpoints, pictures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, Checkpoint, TQDMProgressBar
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightvid.video.drawing import picture_strip, write_png
from lightvid.video.writing import write_video


class LossProgressBar(TQDMProgressBar):
    """A progress bar with the losses alone, without the logger's version."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("loss/"): value for name, value in metrics.items() if name != "v_num"}


class SeedEveryStep(Callback):
    """Make randomness inside a step, such as dropout, a function of (seed, batch, rank), also in a resumed run."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed torch's generators for this batch."""
        key = (self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))


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


class SaveConfiguration(Callback):
    """Store the configuration in every checkpoint: `load_from_checkpoint` and `lightvid.checkpoints` build from it."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

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


class SavePictures(Callback):
    """At each validation, save strips (masked | restored | truth) and a video of the first clips, also to W&B.

    Args:
        folder: where `pictures/` and `videos/` go.
        clips: how many validation clips to show.
        frames: how many frames of each, evenly spaced, a strip shows.
        fps: frames per second of the video.
    """

    def __init__(self, folder: str, *, clips: int = 3, frames: int = 5, fps: int = 6) -> None:
        self.folder = Path(folder)
        self.clips = clips
        self.frames = frames
        self.fps = fps
        self._shown: list[NDArray[np.uint8]] = []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first clips: each `(3, T, H, W, 3)`, the first axis masked, restored, truth."""
        if trainer.is_global_zero and not trainer.sanity_checking:
            for truth, mask, restored in zip(batch.frames, batch.masks, outputs["restored"], strict=True):
                if len(self._shown) < self.clips:
                    self._shown.append(_to_bytes(torch.stack([truth * (1 - mask), restored, truth])))

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the pictures and hand them to W&B."""
        if not self._shown:
            return
        stem = f"step_{trainer.global_step:07d}" if trainer.state.fn == TrainerFn.FITTING else "final"
        picture, video = self.folder / "pictures" / f"{stem}.png", self.folder / "videos" / f"{stem}.mp4"
        rows = []
        for clip in self._shown:
            chosen = np.linspace(0, clip.shape[1] - 1, min(self.frames, clip.shape[1])).round().astype(int)
            rows += [("masked", clip[0, chosen]), ("restored", clip[1, chosen]), ("truth", clip[2, chosen])]
        write_png(picture, picture_strip(rows))
        side_by_side = [np.concatenate(list(clip), axis=2) for clip in self._shown]
        write_video(video, np.concatenate(side_by_side), self.fps)
        self._shown = []
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                _log_media(logger, picture, video, trainer.fit_loop.total_batch_idx)


def _to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """`(..., 3, H, W)` in [-1, 1] to `(..., H, W, 3)` uint8."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()


def _log_media(logger: WandbLogger, picture: Path, video: Path, step: int) -> None:
    logger.log_image("val/pictures", [str(picture)], step=step)
    logger.log_video("val/video", [str(video)], step=step, format=["mp4"])
