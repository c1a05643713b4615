"""Clips with holes out of tar shards."""

from __future__ import annotations

from lightvid.errors import ConfigurationError, DataError

from ..inpainting import InpaintingDataModule
from ..layout import Split, VideoPaths
from .index import Index, Shard
from .module import ShardDataModule, only
from .samples import unpack_annotated
from .stream import Unpack


class TarShards(ShardDataModule, InpaintingDataModule):
    """Clips with holes of tar shards, see `ShardDataModule`; the holes are made as from a folder.

    Args:
        root: see `ShardDataModule`.
        shuffle_buffer: likewise.
        options: see `InpaintingDataModule`; the objects that `masks="object"` takes from another video are those of
            one in the buffer, in validation the video's own.
    """

    kind = "inpainting"

    @property
    def unpack(self) -> Unpack:
        """See `ShardClips`."""
        return unpack_annotated

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """Shards have no files of single videos.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"{self.address}: the videos of shards are read as a stream, not by path")

    def choose_videos(self, split: Split, index: Index) -> list[Shard]:
        """Those that are long enough."""
        frames = self.frames + self.reference_frames if split == "train" else self.validation_frames
        shards = index.splits[split]
        for shard in shards:
            for video in shard.videos:
                if video.length < frames:
                    message = f"{shard.url}/{video.name}: too short, {video.length} frames for clips of {frames}"
                    if self.on_error == "raise":
                        raise DataError(f"{message}; data.on_error=skip leaves such videos out")
                    self.skipped.append(message)
        kept = only(shards, lambda video: video.length >= frames)
        if not kept:
            raise DataError(
                f"{self.address}: no video in the {split} shards that is long enough ({len(shards)} shards)"
            )
        return kept

    def make_clips(self, index: Index) -> None:
        """See `ShardDataModule.make_clips`."""
        self._train = self.training_clips([])
        self._validation = self.validation_clips([])
