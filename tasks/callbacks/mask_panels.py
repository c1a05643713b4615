"""Instances over frames in W&B, each mask a layer that its page can show and hide."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from .overlays import decode_track

Panel = tuple[NDArray[np.uint8], dict[str, Any], str]  # a frame, its layers, its caption


class MaskPanels(Callback):
    """At each validation, send frames of the first clips to W&B with two layers of masks, found and annotated.

    A pixel holds the id of its category; where tracks overlap, that of the highest score. Without W&B nothing is done.

    Args:
        clips: how many validation clips to show.
        frames: how many frames of each, evenly spaced among the first `video_frames`.
        video_frames: the most frames of a clip that are looked at.
        least_score: tracks below it are not shown.
        dataloader: number of the validation loader whose clips are shown, where there are several.
    """

    def __init__(
        self,
        *,
        clips: int = 2,
        frames: int = 3,
        video_frames: int = 60,
        least_score: float = 0.3,
        dataloader: int = 0,
    ) -> None:
        self.clips = clips
        self.frames = frames
        self.video_frames = video_frames
        self.least_score = least_score
        self.dataloader = dataloader
        self._panels: list[Panel] = []
        self._shown = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first clips; the batch is an `InstanceByteBatch`."""
        if dataloader_idx != self.dataloader or trainer.sanity_checking or not _loggers(trainer):
            return
        names = {int(number): str(name) for number, name in pl_module.categories}  # type: ignore[union-attr]
        clips = zip(batch.frames, batch.sizes.tolist(), batch.truth, outputs["results"], strict=True)
        for frames, (height, width), truth, results in clips:
            if trainer.is_global_zero and self._shown < self.clips:
                self._shown += 1
                found = [track for track in results if track["score"] >= self.least_score]
                tracks = {"found": sorted(found, key=lambda track: track["score"]), "truth": truth.tracks}
                visible = frames[: self.video_frames, :height, :width].numpy()
                self._panels += self._draw(visible, tracks, (truth.height, truth.width), names)

    @rank_zero_only
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send what was kept."""
        panels, self._panels, self._shown = self._panels, [], 0
        for logger in _loggers(trainer) if panels else []:
            images, masks, captions = (list(parts) for parts in zip(*panels, strict=True))
            try:
                logger.log_image(
                    "val/masks", images, step=trainer.fit_loop.total_batch_idx, masks=masks, caption=captions
                )
            except OSError as error:  # such as a full disk: no reason to end a training
                warnings.warn(f"{logger.save_dir}: masks for W&B cannot be written ({error.strerror})", stacklevel=2)

    def _draw(
        self,
        frames: NDArray[np.uint8],
        tracks: Mapping[str, Sequence[Mapping[str, Any]]],
        size: tuple[int, int],
        names: Mapping[int, str],
    ) -> Iterator[Panel]:
        chosen = np.linspace(0, len(frames) - 1, min(self.frames, len(frames))).round().astype(int)
        labels = {0: "background", **names}
        for number in chosen.tolist():
            masks = {
                layer: {"mask_data": _categories(number, drawn, size, frames[number].shape[:2]), "class_labels": labels}
                for layer, drawn in tracks.items()
            }
            yield frames[number], masks, f"frame {number}"


def _categories(
    number: int, tracks: Sequence[Mapping[str, Any]], size: tuple[int, int], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """The category of each pixel `(H, W)` of a frame, 0 where there is no track; later tracks cover earlier ones."""
    categories = np.zeros(shape, np.int32)
    for track in tracks:
        mask = decode_track(track, number, size, shape)
        if mask is not None:
            categories[mask > 0] = track["category_id"]
    return categories


def _loggers(trainer: pl.Trainer) -> list[WandbLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
