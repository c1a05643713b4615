"""What all data modules share: loaders that are shuffled, sharded and resumable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import distributed

from lightvid.errors import ConfigurationError

from .dataset import ClipDataset, OnError
from .loader import ResumableLoader, ValidationLoader, single_threaded_opencv
from .sampling import EpochSampler, ShardedBatches, ShardedRange


class ClipDataModule(pl.LightningDataModule, ABC):
    """Clips of a dataset's folder; a subclass sets `_train` and `_validation` in `setup`.

    A training sample is a function of the seed and its running number: it is the same for any number of workers and in
    a resumed run, which goes on at the next batch.

    Args:
        root: the dataset's folder.
        batch_size: clips per process.
        validation_batch_size: likewise.
        workers: processes that read; 0 reads in the main process.
        clips_per_video: how often an epoch takes each video.
        seed: of everything random.
        on_error: whether a broken file ends the run ("raise"), or its clip is reported in `skipped` and, in training,
            replaced by another; in validation, left out ("skip").

    Attributes:
        skipped: one line for each clip left out so far.
    """

    def __init__(
        self,
        root: str,
        *,
        batch_size: int,
        validation_batch_size: int,
        workers: int,
        clips_per_video: int,
        seed: int,
        on_error: OnError,
    ) -> None:
        super().__init__()
        self.root = Path(root).expanduser()
        self.batch_size = batch_size
        self.validation_batch_size = validation_batch_size
        self.workers = workers
        self.clips_per_video = clips_per_video
        self.seed = seed
        self.on_error: OnError = on_error
        self.skipped: list[str] = []
        # With more processes than validation clips, some have none.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self._train: ClipDataset | None = None
        self._validation: ClipDataset | None = None

    @property
    @abstractmethod
    def collate(self) -> Callable[[list[Any]], Any]:
        """Make a batch of clips; the batch has `names`, `skipped` and `to_float()`."""

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches, a different order in each epoch; a last incomplete one is left out."""
        if self._train is None:
            raise ConfigurationError("the clips are not listed yet: call setup('fit') before train_dataloader()")
        rank, world_size = process_of_group()
        sampler = EpochSampler(len(self._train), clips_per_video=self.clips_per_video, seed=self.seed)
        batches = ShardedBatches(sampler, self.batch_size, rank=rank, world_size=world_size)
        if len(batches) == 0:
            raise ConfigurationError(
                f"an epoch of {len(sampler)} clips has no batch of {self.batch_size} clips x {world_size} processes: "
                "lower data.batch_size or raise data.clips_per_video"
            )
        return ResumableLoader(
            self._train,
            batches,
            collate_fn=self.collate,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=single_threaded_opencv,
        )

    def val_dataloader(self) -> ValidationLoader:
        """Every readable validation video once, always the same."""
        if self._validation is None:
            raise ConfigurationError(
                "the clips are not listed yet: call setup('fit') or setup('validate') before val_dataloader()"
            )
        rank, world_size = process_of_group()
        return ValidationLoader(
            self._validation,
            self.skipped,
            batch_size=self.validation_batch_size,
            sampler=ShardedRange(len(self._validation), rank=rank, world_size=world_size),
            collate_fn=self.collate,
            num_workers=self.workers,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=single_threaded_opencv,
        )

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Collect what was skipped; this runs in the main process, once a batch."""
        self.skipped += batch.skipped
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn bytes into floats, where a GPU does it in no time."""
        return batch.to_float()


def check_least(**bounds: tuple[float | None, float]) -> None:
    """Raise a `ConfigurationError` for the first option, given as (value, least), that is too small."""
    for name, (value, least) in bounds.items():
        if value is None or value < least:
            raise ConfigurationError(f"data.{name} must be at least {least}, got {value}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise a `ConfigurationError` unless the value is one of the choices."""
    if value not in choices:
        raise ConfigurationError(f"data.{name} must be one of {', '.join(choices)}, got '{value}'")


def process_of_group() -> tuple[int, int]:
    """This process's rank, and the number of processes that train together."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
