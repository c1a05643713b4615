"""What the data modules of tar shards share: they stream, for datasets that are larger than a disk."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lightvid.errors import ConfigurationError

from ..base import ClipDataModule, check_least, process_of_group
from ..layout import Split
from .index import SPLITS, Index, Kind, Shard, ShardVideo, read_index
from .loader import ShardLoader, ShardValidationLoader
from .order import TrainingOrder, ValidationOrder, Worker
from .stream import ShardClips, Unpack

logger = logging.getLogger(__name__)

WAYS_OUT: dict[Kind, str] = {
    "inpainting": "these shards hold clips for inpainting: task=inpaint data=shards trains on them, or task=joint with "
    "them as data.inpainting.root (`lightvid write-shards --data youtube_vis` writes those of instances)",
    "instances": "these shards hold videos with instances: task=vis data=shards trains on them, or task=joint with "
    "them as data.segmentation.root (`lightvid write-shards --data youtube_vos` writes those for inpainting)",
}


class ShardDataModule(ClipDataModule):
    """Clips of the tar shards that `lightvid write-shards` writes, streamed; a subclass goes before the folder's class.

    Clips and augmentations are made as from a folder, and validation gives the same clips. A training sample is a
    function of the seed and its running number; the order of the samples depends on the numbers of processes and
    workers, too, and a run is resumed exactly with as many of them as before. Every process reads its part of the
    shards from the start to the end, in an order of the shards that changes with the epoch.

    Args:
        root: the folder of the shards, or its address: `https://...`, `http://...` (by curl) or `gs://...`.
        shuffle_buffer: how many videos a worker holds in memory, compressed, to shuffle their clips.
        options: of the class for folders.
    """

    kind: ClassVar[Kind]

    def __init__(self, root: str, *, shuffle_buffer: int = 16, **options: Any) -> None:
        super().__init__(root, **options)
        check_least(shuffle_buffer=(shuffle_buffer, 0))
        self.address = root
        self.shuffle_buffer = shuffle_buffer
        self._shards: dict[Split, list[Shard]] = {}

    @property
    @abstractmethod
    def unpack(self) -> Unpack:
        """See `ShardClips`."""

    @abstractmethod
    def choose_videos(self, split: Split, index: Index) -> list[Shard]:
        """The shards of a split with the videos to read alone.

        Raises:
            DataError: a video cannot be read as the options ask.
        """

    @abstractmethod
    def make_clips(self, index: Index) -> None:
        """Set `_train` and `_validation`, without videos, which the stream gives them."""

    def setup(self, stage: str) -> None:
        """Read the index; no shard is opened.

        Raises:
            ConfigurationError: the shards hold another kind of clips.
            DataError: there is no index, it has no video, or one that cannot be read as the options ask.
        """
        missing = [split for split in SPLITS if split not in self._shards and (stage, split) != ("validate", "train")]
        if stage not in ("fit", "validate") or not missing:
            return
        index = read_index(self.address)
        if index.kind != self.kind:
            raise ConfigurationError(f"{self.address}: {WAYS_OUT[index.kind]}")
        for split in missing:
            shards = self.choose_videos(split, index)
            logger.info("%s: %d videos in %d shards of %s", split, sum(_sizes(shards)), len(shards), self.address)
            self._shards[split] = shards
        self.make_clips(index)

    def train_dataloader(self) -> ShardLoader:  # type: ignore[override]
        """Shuffled batches, a different order in each epoch; the last incomplete ones are left out."""
        if self._train is None:
            raise ConfigurationError("the clips are not listed yet: call setup('fit') before train_dataloader()")
        shards, process = self._shards["train"], _process()
        order = TrainingOrder(
            _sizes(shards),
            self.batch_size,
            clips_per_video=self.clips_per_video,
            buffer=self.shuffle_buffer,
            seed=self.seed,
        )
        if order.batches(process) == 0:
            raise ConfigurationError(
                f"an epoch of {sum(order.shard_sizes) * self.clips_per_video} clips has no batch of {self.batch_size} "
                f"clips x {process.processes} processes: lower data.batch_size or raise data.clips_per_video"
            )
        clips = ShardClips(self._train, shards, order, process, self.unpack)
        return ShardLoader(clips, workers=self.workers, collate=self.collate)

    def val_dataloader(self) -> ShardValidationLoader:  # type: ignore[override]
        """Every readable validation video once, always the same."""
        if self._validation is None:
            raise ConfigurationError(
                "the clips are not listed yet: call setup('fit') or setup('validate') before val_dataloader()"
            )
        shards = self._shards["validation"]
        order = ValidationOrder(_sizes(shards), self.validation_batch_size)
        clips = ShardClips(self._validation, shards, order, _process(), self.unpack)
        return ShardValidationLoader(clips, self.skipped, workers=self.workers, collate=self.collate)


def only(shards: Sequence[Shard], is_wanted: Callable[[ShardVideo], bool]) -> list[Shard]:
    """The shards with the wanted videos alone, without those that then have none."""
    kept = [replace(shard, videos=[video for video in shard.videos if is_wanted(video)]) for shard in shards]
    return [shard for shard in kept if shard.videos]


def _sizes(shards: Sequence[Shard]) -> list[int]:
    return [len(shard.videos) for shard in shards]


def _process() -> Worker:
    rank, processes = process_of_group()
    return Worker(rank, processes)
