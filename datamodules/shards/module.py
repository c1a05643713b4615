"""Clips of tar shards, for datasets that are larger than a disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lightvid.errors import ConfigurationError, DataError

from ..base import check_least, process_of_group
from ..inpainting import InpaintingDataModule
from ..layout import Split, VideoPaths
from ..transforms import ClipTransform
from .index import Shard, read_index
from .loader import ShardLoader, ShardValidationLoader
from .order import TrainingOrder, ValidationOrder, Worker
from .stream import ShardClips


class TarShards(InpaintingDataModule):
    """Clips of the tar shards that `lightvid write-shards` writes, streamed.

    Clips, holes and augmentations are made as from a folder, and validation gives the same clips. A training sample is
    a function of the seed and its running number; the order of the samples depends on the numbers of processes and
    workers, too, and a run is resumed exactly with as many of them as before. Every process reads its part of the
    shards from the start to the end, in an order of the shards that changes with the epoch.

    Args:
        root: the folder of the shards, or its address: `https://...`, `http://...` (by curl) or `gs://...`.
        shuffle_buffer: how many videos a worker holds in memory, compressed, to shuffle their clips.
        options: see `InpaintingDataModule`; the objects that `masks="object"` takes from another video are those of
            one in the buffer, in validation the video's own.
    """

    def __init__(self, root: str, *, shuffle_buffer: int = 16, **options: Any) -> None:
        super().__init__(root, **options)
        check_least(shuffle_buffer=(shuffle_buffer, 0))
        self.address = root
        self.shuffle_buffer = shuffle_buffer
        self._shards: dict[Split, list[Shard]] = {}

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """Shards have no files of single videos.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.address}: the videos of shards are read as a stream, not by path")

    def setup(self, stage: str) -> None:
        """Read the index; no shard is opened.

        Raises:
            DataError: there is no index, it has no video, or a video is too short.
        """
        if stage not in ("fit", "validate") or "validation" in self._shards:
            return
        index = read_index(self.address)
        lengths: dict[Split, int] = {
            "train": self.frames + self.reference_frames,
            "validation": self.validation_frames,
        }
        self._shards = {split: self._long_enough(split, index[split], length) for split, length in lengths.items()}

    def train_dataloader(self) -> ShardLoader:  # type: ignore[override]
        """Shuffled batches, a different order in each epoch; the last incomplete ones are left out."""
        transform = ClipTransform(
            self.height, self.width, horizontal_flip=self.horizontal_flip, colour_jitter=self.colour_jitter
        )
        clips = self._clips(
            [], transform, self.frames, self.masks, self.sampling, reference_frames=self.reference_frames
        )
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
        return ShardLoader(ShardClips(clips, shards, order, process), workers=self.workers, collate=self.collate)

    def val_dataloader(self) -> ShardValidationLoader:  # type: ignore[override]
        """Every readable validation video once, always the same."""
        transform = ClipTransform(self.height, self.width)
        clips = self._clips([], transform, self.validation_frames, self.validation_masks, None)
        shards = self._shards["validation"]
        order = ValidationOrder(_sizes(shards), self.validation_batch_size)
        dataset = ShardClips(clips, shards, order, _process())
        return ShardValidationLoader(dataset, self.skipped, workers=self.workers, collate=self.collate)

    def _long_enough(self, split: Split, shards: Sequence[Shard], frames: int) -> list[Shard]:
        """The shards without the videos that are too short."""
        for shard in shards:
            for video in shard.videos:
                if video.length < frames:
                    message = f"{shard.url}/{video.name}: too short, {video.length} frames for clips of {frames}"
                    if self.on_error == "raise":
                        raise DataError(f"{message}; data.on_error=skip leaves such videos out")
                    self.skipped.append(message)
        kept = [replace(shard, videos=[v for v in shard.videos if v.length >= frames]) for shard in shards]
        if not any(shard.videos for shard in kept):
            raise DataError(
                f"{self.address}: no video in the {split} shards that is long enough ({len(shards)} shards)"
            )
        return [shard for shard in kept if shard.videos]


def _sizes(shards: Sequence[Shard]) -> list[int]:
    return [len(shard.videos) for shard in shards]


def _process() -> Worker:
    rank, processes = process_of_group()
    return Worker(rank, processes)
