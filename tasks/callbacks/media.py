"""What pictures and videos of a validation have in common: the files, and their way to the loggers."""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only

from lightvid.video.drawing import picture_strip, write_png
from lightvid.video.writing import VideoWriter

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
                with self._only_warning():
                    self._add(self._video(trainer), length, frames)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the picture, finish the video and hand both to W&B."""
        picture, video = self._paths(trainer)
        if self._rows:
            with self._only_warning():
                write_png(picture, picture_strip(self._rows))
                self._open.close()
                for logger in trainer.loggers:  # who copy the files
                    _log_media(logger, self.prefix, picture, video, trainer.fit_loop.total_batch_idx)
        self._forget()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no unfinished video."""
        with self._only_warning():
            self._open.__exit__(type(exception), exception, exception.__traceback__)
        self._forget()

    @contextmanager
    def _only_warning(self) -> Iterator[None]:
        """A picture that cannot be written, for want of room for example, ends no training."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            warnings.warn(f"{self.folder}: a picture or video cannot be written ({reason})", stacklevel=3)
            with suppress(OSError):
                self._open.__exit__(type(error), error, error.__traceback__)
            self._forget()
            self._clips = self.clips  # no more of them at this validation

    def _forget(self) -> None:
        self._clips = 0
        self._rows: list[tuple[str, NDArray[np.uint8]]] = []
        self._size = (0, 0)
        self._writer: VideoWriter | None = None
        self._open: ExitStack = ExitStack()

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


def _fit(frame: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A frame in a video of this size: made smaller where it is larger, with black at the right and below."""
    factor = min(1.0, height / frame.shape[0], width / frame.shape[1])
    if factor < 1:
        rows, columns = (max(1, int(side * factor)) for side in frame.shape[:2])
        frame = np.asarray(cv2.resize(frame, (columns, rows), interpolation=cv2.INTER_AREA))
    return np.pad(frame, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)))


def _log_media(logger: Logger, prefix: str, picture: Path, video: Path, step: int) -> None:
    if isinstance(logger, WandbLogger):
        logger.log_image(f"val/{prefix}pictures", [str(picture)], step=step)
        logger.log_video(f"val/{prefix}video", [str(video)], step=step, format=["mp4"])
    elif isinstance(logger, TensorBoardLogger):
        pixels = np.asarray(cv2.imread(str(picture)))[..., ::-1]
        logger.experiment.add_image(f"val/{prefix}pictures", pixels, step, dataformats="HWC")
