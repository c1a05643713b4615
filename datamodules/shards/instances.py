"""Clips with instances out of tar shards."""

from __future__ import annotations

from functools import partial

from lightvid.annotations.youtube_vis import Annotations
from lightvid.errors import ConfigurationError, DataError

from ..layout import Split
from ..youtube_vis import YouTubeVISDataModule
from .index import Index, Shard
from .module import ShardDataModule, only
from .samples import unpack_instances
from .stream import Unpack


class InstanceShards(ShardDataModule, YouTubeVISDataModule):
    """Clips and whole videos with instances of tar shards, see `ShardDataModule`.

    Args:
        root: see `ShardDataModule`.
        shuffle_buffer: likewise.
        options: see `YouTubeVISDataModule`; which annotation files the shards hold was chosen when they were written.
    """

    kind = "instances"

    @property
    def unpack(self) -> Unpack:
        """See `ShardClips`."""
        return partial(unpack_instances, categories=self.categories)

    def setup(self, stage: str) -> None:
        """See `ShardDataModule.setup`.

        Raises:
            ConfigurationError: an annotation file is chosen.
        """
        for option in ("annotations", "validation_annotations"):
            if (file := getattr(self, option)) is not None:
                flag = f"--{option.replace('_', '-')}"
                raise ConfigurationError(
                    f"data.{option}={file}: shards hold their annotations; `lightvid write-shards ... {flag} {file}` "
                    "writes those of another file"
                )
        super().setup(stage)

    def choose_files(self, stage: str) -> dict[Split, Annotations]:
        """Shards have no annotation files.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.address}: the annotations of shards are read with their videos")

    def choose_videos(self, split: Split, index: Index) -> list[Shard]:
        """Those of the chosen names; to train on, those with a visible track."""
        shards = index.splits["train" if self.validate_on_training else split]
        if (names := self.videos) is not None:
            known = ", ".join([video.name for shard in shards for video in shard.videos][:3])
            shards = only(shards, lambda video: video.name in names)
            if not shards:
                raise DataError(
                    f"{self.address}: none of data.videos={list(names)} is in the {split} shards, as {known}"
                )
        if split == "train":
            shards = only(shards, lambda video: video.is_learnable)
        if not shards:
            what = "video with a visible track to train on" if split == "train" else "video"
            raise DataError(f"{self.address}: no {what} in the {split} shards")
        return shards

    def make_clips(self, index: Index) -> None:
        """See `ShardDataModule.make_clips`."""
        self._categories = index.categories
        self._train = self.training_clips([])
        self._validation = self.whole_videos([])
