"""Callbacks of every run: reproducible randomness, skipped clips, the configuration in checkpoints, pictures."""

from __future__ import annotations

import itertools
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, Checkpoint, TQDMProgressBar
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from lightvid.annotations.rle import decode
from lightvid.video.drawing import picture_strip, write_png
from lightvid.video.overlays import draw_tracks
from lightvid.video.writing import VideoWriter


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


class TrainingSeconds(Callback):
    """Log the seconds spent training so far, waiting for data included and validation excluded, also over resumes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count since the last batch or validation."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        pl_module.log("train/seconds", self.seconds)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on counting."""
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """For a resumed run."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.seconds = float(state_dict["seconds"])


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


Shown = dict[str, NDArray[np.uint8]]


class Pictures(Callback, ABC):
    """At each validation, save a picture and a video of the first clips, also to W&B.

    A clip is drawn frame by frame, straight into the video; only the frames of the picture are kept.

    Args:
        folder: where `pictures/` and `videos/` go.
        clips: how many validation clips to show.
        frames: how many frames of each, evenly spaced, a picture shows.
        fps: frames per second of the video.
        dataloader: number of the validation loader whose clips are shown, where there are several.
        prefix: of the files' names, where a run has several such callbacks.
    """

    def __init__(
        self, folder: str, *, clips: int = 3, frames: int = 5, fps: int = 6, dataloader: int = 0, prefix: str = ""
    ) -> None:
        self.folder = Path(folder)
        self.clips = clips
        self.frames = frames
        self.fps = fps
        self.dataloader = dataloader
        self.prefix = prefix
        self._forget()

    @abstractmethod
    def shown(self, pl_module: pl.LightningModule, outputs: Any, batch: Any) -> Iterator[tuple[int, Iterator[Shown]]]:
        """For each clip of a batch its length and, frame by frame, caption -> `(H, W, 3)` RGB, all of one size."""

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the first clips."""
        if dataloader_idx != self.dataloader or trainer.sanity_checking:
            return
        if trainer.is_global_zero and self._clips < self.clips:
            for length, frames in itertools.islice(self.shown(pl_module, outputs, batch), self.clips - self._clips):
                self._clips += 1
                self._add(self._video(trainer), length, frames)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the picture, finish the video and hand both to W&B."""
        if not self._rows:
            return
        picture, video = self._paths(trainer)
        write_png(picture, picture_strip(self._rows))
        self._open.close()
        self._forget()
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                _log_media(logger, self.prefix, picture, video, trainer.fit_loop.total_batch_idx)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no unfinished video."""
        self._open.__exit__(type(exception), exception, exception.__traceback__)
        self._forget()

    def _forget(self) -> None:
        self._clips = 0
        self._rows: list[tuple[str, NDArray[np.uint8]]] = []
        self._size = (0, 0)
        self._writer: VideoWriter | None = None
        self._open = ExitStack()

    def _paths(self, trainer: pl.Trainer) -> tuple[Path, Path]:
        when = f"step_{trainer.global_step:07d}" if trainer.state.fn == TrainerFn.FITTING else "final"
        stem = self.prefix + when
        return self.folder / "pictures" / f"{stem}.png", self.folder / "videos" / f"{stem}.mp4"

    def _video(self, trainer: pl.Trainer) -> VideoWriter:
        if self._writer is None:
            self._writer = self._open.enter_context(VideoWriter(self._paths(trainer)[1], self.fps))
        return self._writer

    def _add(self, writer: VideoWriter, length: int, frames: Iterator[Shown]) -> None:
        """Write a clip to the video, side by side, and keep the rows of the picture."""
        chosen = set(np.linspace(0, length - 1, min(self.frames, length)).round().astype(int).tolist())
        kept: dict[str, list[NDArray[np.uint8]]] = {}
        for number, shown in enumerate(frames):
            beside = np.concatenate(list(shown.values()), axis=1)
            if not any(self._size):
                self._size = beside.shape[0], beside.shape[1]
            writer.write(_fit(beside, *self._size))
            if number in chosen:
                for caption, frame in shown.items():
                    kept.setdefault(caption, []).append(frame)
        self._rows += [(caption, np.stack(pictures)) for caption, pictures in kept.items()]


class SavePictures(Pictures):
    """Strips and a video of masked, restored and truth; arguments as `Pictures`."""

    def shown(self, pl_module: pl.LightningModule, outputs: Any, batch: Any) -> Iterator[tuple[int, Iterator[Shown]]]:
        """See `Pictures.shown`."""
        for truth, mask, restored in zip(batch.frames, batch.masks, outputs["restored"], strict=True):
            yield len(truth), map(_show_restored, truth, mask, restored)


class SaveOverlays(Pictures):
    """Strips and a video of the tracks that are found and of the annotated ones; arguments as `Pictures`.

    They are drawn at the size of the network's frames.

    Args:
        video_frames: the most frames of a clip, its first ones, that are shown.
        least_score: tracks below it are not drawn.
    """

    def __init__(
        self,
        folder: str,
        *,
        clips: int = 3,
        frames: int = 5,
        fps: int = 6,
        dataloader: int = 0,
        prefix: str = "",
        video_frames: int = 60,
        least_score: float = 0.3,
    ) -> None:
        super().__init__(folder, clips=clips, frames=frames, fps=fps, dataloader=dataloader, prefix=prefix)
        self.video_frames = video_frames
        self.least_score = least_score

    def shown(self, pl_module: pl.LightningModule, outputs: Any, batch: Any) -> Iterator[tuple[int, Iterator[Shown]]]:
        """See `Pictures.shown`; the batch is an `InstanceByteBatch`."""
        names = dict(pl_module.categories)  # type: ignore[arg-type]
        clips = zip(batch.frames, batch.sizes.tolist(), batch.truth, outputs["results"], strict=True)
        for padded, (height, width), truth, results in clips:
            frames = padded[: self.video_frames, :height, :width].numpy()
            tracks = {"found": [t for t in results if t["score"] >= self.least_score], "truth": truth.tracks}
            yield len(frames), _overlays(frames, tracks, (truth.height, truth.width), names)


def _overlays(
    frames: NDArray[np.uint8],
    tracks: Mapping[str, Sequence[Mapping[str, Any]]],
    size: tuple[int, int],
    names: Mapping[int, str],
) -> Iterator[Shown]:
    """Frames `(T, H, W, 3)` with the tracks of each caption, whose masks have another size."""
    for number, frame in enumerate(frames):
        yield {caption: _draw(frame, number, drawn, size, names) for caption, drawn in tracks.items()}


def _draw(
    frame: NDArray[np.uint8],
    number: int,
    tracks: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    names: Mapping[int, str],
) -> NDArray[np.uint8]:
    masks = [
        None if (mask := track["segmentations"][number]) is None else _decode(mask, size, frame.shape[:2])
        for track in tracks
    ]
    scores = [track["score"] for track in tracks] if all("score" in track for track in tracks) else None
    labels = [names.get(track["category_id"], "?") for track in tracks]
    return draw_tracks(frame, masks, ids=range(len(tracks)), labels=labels, scores=scores)


def _decode(mask: Any, size: tuple[int, int], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A mask of one size from its run lengths, at another."""
    decoded = decode(mask, *size, "a track")
    return np.asarray(cv2.resize(decoded, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def _fit(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A frame in a video of this size: made smaller where it is larger, with black at the right and below."""
    factor = min(1.0, height / frame.shape[0], width / frame.shape[1])
    if factor < 1:
        rows, columns = (max(1, int(side * factor)) for side in frame.shape[:2])
        frame = np.asarray(cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA))
    return np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)))


def _show_restored(truth: Tensor, mask: Tensor, restored: Tensor) -> Shown:
    masked = truth * (1 - mask)
    return {"masked": _to_bytes(masked), "restored": _to_bytes(restored), "truth": _to_bytes(truth)}


def _to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """`(..., 3, H, W)` in [-1, 1] to `(..., H, W, 3)` uint8."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()


def _log_media(logger: WandbLogger, prefix: str, picture: Path, video: Path, step: int) -> None:
    logger.log_image(f"val/{prefix}pictures", [str(picture)], step=step)
    logger.log_video(f"val/{prefix}video", [str(video)], step=step, format=["mp4"])
