"""Loaders: one that goes on in the middle of an epoch, and one that gives no empty batch."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import cv2
from torch.utils.data import DataLoader

from lightvid.errors import ConfigurationError, DataError

from .dataset import ClipDataset
from .sampling import ShardedBatches

# what an epoch depends on and is no option of the data by the same name
DESCRIBED = {
    "seed": "seed={now} (was {before})",
    "processes": "processes={now} (was {before})",
    "batch_size_x_processes": "data.batch_size x processes = {now} (was {before})",
    "shards": "data.root with shards={now} (was {before})",
    "videos": "data.root with videos={now} (was {before})",
    "names_of_videos": "data.root with other videos",
}


class ResumableLoader(DataLoader[Any]):
    """A `DataLoader` whose place in the epoch Lightning stores in its checkpoints and restores from them.

    A restored loader starts at the batch after the last one delivered, without reading those before it.

    Args:
        dataset: takes the requests of `batches`.
        batches: the training order.
        options: of `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: ClipDataset, batches: ShardedBatches, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self._clips = dataset
        self._batches = batches
        self._epoch = 0
        self._delivered = 0
        self._resumed = False
        self._changed: list[str] = []

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The rest of the epoch that was restored, or the whole of another.

        As a generator it begins at the first `next`: Lightning makes the iterator before it sets the epoch.

        Raises:
            ConfigurationError: see `check_resumed`.
        """
        epoch = self._batches.sampler.epoch
        self.check_resumed(epoch)
        start = self._delivered if self._resumed and epoch == self._epoch else 0
        self._resumed = False
        self._batches.start = start
        for delivered, batch in enumerate(super().__iter__(), start + 1):
            self._epoch, self._delivered = epoch, delivered
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch of the last batch delivered, how many of its batches have been, and what their order depends on."""
        return {"epoch": self._epoch, "delivered": self._delivered, "batches": len(self), **self._order()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to where `state_dict` was taken; the end of an epoch is the start of the next."""
        self._epoch, self._delivered = state["epoch"], state["delivered"]
        if self._delivered >= state.get("batches", len(self)):
            self._epoch, self._delivered = self._epoch + 1, 0
        self._changed = changes(state, self._order())
        self._resumed = True
        self._batches.sampler.set_epoch(self._epoch)

    def check_resumed(self, epoch: int) -> None:
        """Check what a resumed run is about to read. An epoch may have ended before the loader did, unknown to it.

        Args:
            epoch: the one that comes next.

        Raises:
            ConfigurationError: it is the one that `state_dict` was taken in, and its rest would be other clips.
        """
        if self._resumed and self._delivered and epoch == self._epoch:
            refuse(self._changed)

    def _order(self) -> dict[str, int]:
        """All that the batches of an epoch follow from."""
        sampler = self._batches.sampler
        return {
            "seed": sampler.seed,
            "videos": sampler.videos,
            "names_of_videos": digest(source.video.name for source in self._clips.videos),
            "clips_per_video": sampler.clips_per_video,
            "batch_size_x_processes": self._batches.batch_size * self._batches.world_size,
        }


def digest(names: Iterable[str]) -> int:
    """A number that tells these names, in this order, from others."""
    return zlib.crc32("\n".join(names).encode())


def changes(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """What differs, in the names of the options; what is not known of before is taken as it is."""
    changed = {name: (before[name], value) for name, value in now.items() if before.get(name, value) != value}
    if {"videos", "shards"} & changed.keys():
        changed.pop("names_of_videos", None)  # says no more
    return [
        DESCRIBED.get(name, "data.{name}={now} (was {before})").format(name=name, before=before, now=value)
        for name, (before, value) in changed.items()
    ]


def refuse(changed: list[str]) -> None:
    """Raise a `ConfigurationError` if something has."""
    if changed:
        raise ConfigurationError(
            f"the rest of an epoch would be other clips under {', '.join(changed)}: set it back to resume, or begin a"
            " new run with init_from=RUN"
        )


class ValidationLoader(DataLoader[Any]):
    """A `DataLoader` that leaves out batches of which no clip could be read.

    Args:
        dataset: the validation clips.
        skipped: to this list it adds what those batches have in `skipped`; nobody else sees them.
        options: of `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: ClipDataset, skipped: list[str], **options: Any) -> None:
        super().__init__(dataset, **options)
        self.clips = len(dataset)
        self.skipped = skipped

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches that have a clip; raises as `readable`."""
        return readable(super().__iter__(), self.clips, self.skipped)


def readable(batches: Iterable[Any], clips: int, skipped: list[str]) -> Iterator[Any]:
    """The batches that have a clip.

    Args:
        batches: with `names` of their clips and `skipped`.
        clips: of the whole dataset.
        skipped: to this list goes what the batches without a clip have in `skipped`.

    Raises:
        DataError: no clip of the whole dataset could be read. (A process that has only a part of it goes on.)
    """
    missing: list[str] = []
    for batch in batches:
        if batch.names:
            yield batch
        else:
            missing += batch.skipped
            skipped += batch.skipped
    if len(missing) == clips:
        raise DataError(f"{missing[-1]}; and so for all {clips} validation clips: is the whole dataset broken?")


def single_threaded_opencv(worker: int) -> None:
    """For `worker_init_fn`: the workers are the parallelism."""
    cv2.setNumThreads(0)
