"""Clips out of a stream of tar shards: each video is read once, whole, and waits in memory for its turns."""

from __future__ import annotations

import itertools
import tarfile
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander

from lightvid.errors import DataError

from ..dataset import ClipDataset
from .files import open_file
from .index import Shard, ShardVideo
from .order import Clip, TrainingOrder, ValidationOrder, Worker
from .samples import StoredVideo

Unpack = Callable[[StoredVideo], Any]
READING_ERRORS = (OSError, EOFError, ValueError, KeyError, tarfile.TarError)


class ShardClips(IterableDataset[Any]):
    """The clips of one process, shared out to its workers.

    A video that cannot be read answers as in any `ClipDataset`; what replaces its clips, and what gives the objects of
    another video, are the other videos in memory at the time. Where none of them can be read, others of the split are
    read for the clip alone. All of them are the same in a resumed run.

    Args:
        clips: makes a clip of a video; its own list of videos is not used.
        shards: of the split.
        order: of an epoch.
        process: `Worker` without a number.
        unpack: makes what `clips` reads of a video that comes out of a shard, or of one that could not be read, which
            raises its error when it is read.
    """

    def __init__(
        self,
        clips: ClipDataset,
        shards: Sequence[Shard],
        order: TrainingOrder | ValidationOrder,
        process: Worker,
        unpack: Unpack,
    ) -> None:
        self.clips = clips
        self.shards = shards
        self.order = order
        self.process = process
        self.unpack = unpack

    def in_order(self, order: TrainingOrder | ValidationOrder) -> ShardClips:
        """The clips of another epoch, or of the rest of one."""
        return ShardClips(self.clips, self.shards, order, self.process, self.unpack)

    def __iter__(self) -> Iterator[Any]:
        """The clips of this worker that have not been given yet."""
        info = get_worker_info()
        worker = self.process if info is None else self.process._replace(number=info.id, workers=info.num_workers)
        clips, turns, done = self.order.plan(worker)
        first = {clip.video: index for index, clip in reversed(list(enumerate(clips)))}
        last = {clips[index].video: turn for turn, index in enumerate(turns)}
        unread = deque(video for video in dict.fromkeys(clip.video for clip in clips) if last[video] >= done)
        stream = read_videos(self.shards, list(unread), self.unpack)
        held: dict[int, Any] = {}
        for turn, index in enumerate(turns):
            while unread and first[unread[0]] <= index:
                held[unread.popleft()] = next(stream)
            video = clips[index].video
            if turn >= done:
                yield self._make(clips[index], held)
            if last[video] == turn:
                held.pop(video, None)

    def _make(self, clip: Clip, held: Mapping[int, Any]) -> Any:
        others = (video for number, video in held.items() if number != clip.video)
        self.clips.videos = [held[clip.video], *others]
        return self.clips.get((clip.draw, 0), self._spares(clip, held))

    def _spares(self, clip: Clip, held: Mapping[int, Any]) -> Iterator[Any]:
        """The videos that are not in memory, in an order of the clip's own; their objects are their own, too."""
        in_memory = self.clips.videos
        rng = np.random.default_rng([self.clips.seed, clip.draw])
        for number in rng.permutation(sum(len(shard.videos) for shard in self.shards)).tolist():
            if number not in held:
                (video,) = read_videos(self.shards, [number], self.unpack)
                self.clips.videos = [video]
                yield video
        self.clips.videos = in_memory


def read_videos(shards: Sequence[Shard], numbers: Sequence[int], unpack: Unpack) -> Iterator[Any]:
    """Read videos by their numbers in the split, those of one shard after one another and in their order.

    A video that is not there or not whole raises its `DataError` when a frame of it is asked for.
    """
    firsts = [0, *itertools.accumulate(len(shard.videos) for shard in shards)]
    for shard, group in itertools.groupby(numbers, key=lambda number: bisect_right(firsts, number) - 1):
        wanted = [shards[shard].videos[number - firsts[shard]] for number in group]
        yield from _read_shard(shards[shard], wanted, unpack)


def _read_shard(shard: Shard, wanted: Sequence[ShardVideo], unpack: Unpack) -> Iterator[Any]:
    readable = _readable(shard, wanted, unpack)
    error = None
    for video in wanted:
        unpacked = None
        if error is None:
            try:
                unpacked = next(readable)
            except DataError as reason:
                error = str(reason)
            except READING_ERRORS as reason:
                error = f"{shard.url}: cannot read video {video.name} ({_in_words(reason)}); write the shards again"
        yield unpacked if unpacked is not None else unpack(StoredVideo(shard.url, video, {}, error))


def _readable(shard: Shard, wanted: Sequence[ShardVideo], unpack: Unpack) -> Iterator[Any]:
    """The videos up to the first that is not there or not whole, for which it raises."""
    keys = {video.key for video in wanted}
    last = wanted[-1].key

    def is_wanted(name: str) -> bool:
        key = name.partition(".")[0]
        return key in keys or key > last  # what follows ends the last video without reading on to the end

    with open_file(shard.url) as stream:
        files = tar_file_expander([{"url": shard.url, "stream": stream}], select_files=is_wanted)
        samples = group_by_keys(files)
        for video in wanted:
            stored = StoredVideo(shard.url, video, _members_of(video, next(samples, None)))
            try:
                unpacked = unpack(stored)
            except DataError as reason:  # a whole video with wrong content: those after it may be right
                unpacked = unpack(stored._replace(error=str(reason)))
            yield unpacked


def _members_of(video: ShardVideo, sample: Mapping[str, Any] | None) -> Mapping[str, bytes]:
    if sample is None:
        raise EOFError("the shard ends before it")
    if sample["__key__"] != video.key:
        raise ValueError(f"video {sample['__key__']} is in its place")
    return sample


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.strerror:
        return error.strerror
    # webdataset adds the stream's address in memory
    return str(error.args[0]).partition(" @ ")[0] if error.args else type(error).__name__
