"""Clips out of a stream of tar shards: each video is read once, whole, and waits in memory for its turns."""

from __future__ import annotations

import itertools
import json
import tarfile
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info
from webdataset.tariterators import group_by_keys, tar_file_expander

from lightvid.errors import DataError
from lightvid.video.reading import ImageSequence

from ..clips import AnnotatedVideo, InpaintingClips
from .files import open_file
from .index import Shard, ShardVideo
from .order import Clip, TrainingOrder, ValidationOrder, Worker

READING_ERRORS = (OSError, EOFError, ValueError, KeyError, tarfile.TarError)
DESCRIPTION = "video.json"  # a video's name and the names of its frames and masks


class ShardClips(IterableDataset[Any]):
    """The clips of one process, shared out to its workers.

    A video that cannot be read answers as in any `ClipDataset`; what replaces its clips, and what gives the objects of
    another video, are the other videos in memory at the time. They are the same in a resumed run.

    Args:
        clips: makes a clip of a video; its own list of videos is not used.
        shards: of the split.
        order: of an epoch.
        process: `Worker` without a number.
    """

    def __init__(
        self, clips: InpaintingClips, shards: Sequence[Shard], order: TrainingOrder | ValidationOrder, process: Worker
    ) -> None:
        self.clips = clips
        self.shards = shards
        self.order = order
        self.process = process

    def __iter__(self) -> Iterator[Any]:
        """The clips of this worker that have not been given yet."""
        info = get_worker_info()
        worker = self.process if info is None else self.process._replace(number=info.id, workers=info.num_workers)
        clips, turns, done = self.order.plan(worker)
        first = {clip.video: index for index, clip in reversed(list(enumerate(clips)))}
        last = {clips[index].video: turn for turn, index in enumerate(turns)}
        unread = deque(video for video in dict.fromkeys(clip.video for clip in clips) if last[video] >= done)
        stream = read_videos(self.shards, list(unread))
        held: dict[int, AnnotatedVideo] = {}
        for turn, index in enumerate(turns):
            while unread and first[unread[0]] <= index:
                held[unread.popleft()] = next(stream)
            video = clips[index].video
            if turn >= done:
                yield self._make(clips[index], held)
            if last[video] == turn:
                held.pop(video, None)

    def _make(self, clip: Clip, held: Mapping[int, AnnotatedVideo]) -> Any:
        others = (video for number, video in held.items() if number != clip.video)
        self.clips.videos = [held[clip.video], *others]
        return self.clips[clip.draw, 0]


def read_videos(shards: Sequence[Shard], numbers: Sequence[int]) -> Iterator[AnnotatedVideo]:
    """Read videos by their numbers in the split, those of one shard after one another and in their order.

    A video that is not there or not whole raises its `DataError` when a frame of it is asked for.
    """
    firsts = [0, *itertools.accumulate(len(shard.videos) for shard in shards)]
    for shard, group in itertools.groupby(numbers, key=lambda number: bisect_right(firsts, number) - 1):
        yield from _read_shard(shards[shard], [shards[shard].videos[number - firsts[shard]] for number in group])


@dataclass(frozen=True)
class StreamedVideo(ImageSequence):
    """A video whose files are in memory.

    Attributes:
        stored: the bytes of each file by its name.
        error: why there are none.
    """

    stored: Mapping[str, bytes]
    error: str | None = None

    def contents(self, names: Sequence[str]) -> Iterator[bytes]:
        """See `ImageSequence.contents`."""
        if self.error is not None:
            raise DataError(self.error)
        return (self.stored[name] for name in names)


def members(kind: str, names: Sequence[str]) -> list[str]:
    """What the files of a video are called in a tar, after its key."""
    return [f"{kind}.{number:06d}{Path(name).suffix.lower()}" for number, name in enumerate(names)]


def _read_shard(shard: Shard, wanted: Sequence[ShardVideo]) -> Iterator[AnnotatedVideo]:
    readable = _readable(shard, wanted)
    error = None
    for video in wanted:
        annotated = None
        if error is None:
            try:
                annotated = next(readable)
            except DataError as reason:
                error = str(reason)
            except READING_ERRORS as reason:
                error = f"{shard.url}: cannot read video {video.name} ({_in_words(reason)}); write the shards again"
        yield annotated if annotated is not None else _missing(shard, video, str(error))


def _readable(shard: Shard, wanted: Sequence[ShardVideo]) -> Iterator[AnnotatedVideo]:
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
            yield _video(shard, video, next(samples, None))


def _video(shard: Shard, video: ShardVideo, sample: Mapping[str, Any] | None) -> AnnotatedVideo:
    if sample is None:
        raise EOFError("the shard ends before it")
    if sample["__key__"] != video.key:
        raise ValueError(f"video {sample['__key__']} is in its place")
    description = json.loads(sample[DESCRIPTION])

    def sequence(kind: str, names: list[str]) -> StreamedVideo:
        contents = {name: sample[member] for name, member in zip(names, members(kind, names), strict=True)}
        return StreamedVideo(Path(shard.url) / video.name, video.name, names, contents)

    masks = description["masks"]
    return AnnotatedVideo(sequence("frame", description["frames"]), sequence("mask", masks) if masks else None)


def _missing(shard: Shard, video: ShardVideo, error: str) -> AnnotatedVideo:
    names = [f"{number:05d}" for number in range(video.length)]
    return AnnotatedVideo(StreamedVideo(Path(shard.url) / video.name, video.name, names, {}, error))


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, OSError) and not isinstance(error, tarfile.TarError) and error.strerror:
        return error.strerror
    # webdataset adds the stream's address in memory
    return str(error.args[0]).partition(" @ ")[0] if error.args else type(error).__name__
