"""A loader of shards whose place in the epoch is stored in checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from ..loader import changes, digest, readable, refuse, single_threaded_opencv
from .order import TrainingOrder
from .stream import ShardClips


class EpochCounter:
    """Where Lightning tells a loader the epoch."""

    def __init__(self) -> None:
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch."""
        self.epoch = epoch


class ShardLoader:
    """Batches of shards; a `DataLoader` is made for each epoch, whose workers then know the epoch.

    Args:
        clips: those of a process, in some epoch.
        workers: processes that read; 0 reads in the main process.
        collate: makes a batch of clips.
    """

    def __init__(self, clips: ShardClips, *, workers: int, collate: Callable[[list[Any]], Any]) -> None:
        self.clips = clips
        self.workers = workers
        self.collate = collate
        self.sampler = EpochCounter()  # by this name Lightning finds it
        self._epoch = 0
        self._delivered = 0
        self._resumed = False
        self._changed: list[str] = []

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.clips.order.batches(self.clips.process)

    def __iter__(self) -> Iterator[Any]:
        """The rest of the epoch that was restored, or the whole of another; see `ResumableLoader.__iter__`."""
        epoch = self.sampler.epoch
        self.check_resumed(epoch)
        start = self._delivered if self._resumed and epoch == self._epoch else 0
        self._resumed = False
        order = self.clips.order
        if isinstance(order, TrainingOrder):
            order = replace(order, epoch=epoch, start=start)
        batches = _load(self.clips.in_order(order), self.workers, self.collate)
        for delivered, batch in enumerate(batches, start + 1):
            self._epoch, self._delivered = epoch, delivered
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch of the last batch delivered, how many of its batches have been, and what their order depends on."""
        place = {"epoch": self._epoch, "delivered": self._delivered, "batches": len(self)}
        return {**place, **self._shared_out()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where `state_dict` was taken; the end of an epoch is the start of the next."""
        self._epoch, self._delivered = state["epoch"], state["delivered"]
        if self._delivered >= state.get("batches", len(self)):
            self._epoch, self._delivered = self._epoch + 1, 0
        self._changed = changes(state, self._shared_out())
        self._resumed = True
        self.sampler.set_epoch(self._epoch)

    def check_resumed(self, epoch: int) -> None:
        """Check what a resumed run is about to read; see `ResumableLoader.check_resumed`."""
        if self._resumed and self._delivered and epoch == self._epoch:
            refuse(self._changed)

    def _shared_out(self) -> dict[str, int]:
        """All that the order of an epoch and its parts follow from."""
        order = self.clips.order
        assert isinstance(order, TrainingOrder)
        return {
            "processes": self.clips.process.processes,
            "workers": max(self.workers, 1),
            "batch_size": order.batch_size,
            "clips_per_video": order.clips_per_video,
            "shuffle_buffer": order.buffer,
            "seed": order.seed,
            "shards": len(order.shard_sizes),
            "videos": sum(order.shard_sizes),
            "names_of_videos": digest(
                f"{number} {video.name}" for number, shard in enumerate(self.clips.shards) for video in shard.videos
            ),
        }


class ShardValidationLoader:
    """Batches of the validation clips, without those of which no clip could be read.

    Args:
        clips: those of a process.
        skipped: see `readable`.
        workers: processes that read.
        collate: makes a batch of clips.
    """

    def __init__(
        self, clips: ShardClips, skipped: list[str], *, workers: int, collate: Callable[[list[Any]], Any]
    ) -> None:
        self.clips = clips
        self.skipped = skipped
        self.workers = workers
        self.collate = collate

    def __len__(self) -> int:
        """Batches, those without a readable clip included."""
        return self.clips.order.batches(self.clips.process)

    def __iter__(self) -> Iterator[Any]:
        """The batches that have a clip; raises as `readable`."""
        videos = sum(self.clips.order.shard_sizes)
        return readable(_load(self.clips, self.workers, self.collate), videos, self.skipped)


def _load(dataset: ShardClips, workers: int, collate: Callable[[list[Any]], Any]) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=dataset.order.batch_size,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=single_threaded_opencv,
    )
