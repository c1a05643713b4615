"""What a video's members in a shard are called and hold: packed by the writer, unpacked by the stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from lightvid.annotations.youtube_vis import Category, VideoEntry, parse_annotations
from lightvid.errors import DataError
from lightvid.video import Video, open_video
from lightvid.video.reading import ImageSequence

from ..clips import AnnotatedVideo
from ..instance_clips import InstanceVideo, track_record
from ..layout import VideoPaths
from .index import ShardVideo

DESCRIPTION = "video.json"  # a video's name and the names of its frames and masks
INSTANCES = "instances.json"  # its record and its tracks, as in an annotation file of YouTube-VIS


class StoredVideo(NamedTuple):
    """A video as it comes out of a shard.

    Attributes:
        url: of the shard.
        video: what the index says of it.
        members: the bytes of each of its files, by their names in the tar without the key.
        error: why there are none.
    """

    url: str
    video: ShardVideo
    members: Mapping[str, bytes]
    error: str | None = None


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


def pack_annotated(key: str, paths: VideoPaths) -> tuple[ShardVideo, dict[str, str | bytes]]:
    """A video as one sample of a shard: its frames, its masks and what they are called.

    Raises:
        DataError: a file cannot be read, or it is not made of images.
    """
    video = open_video(paths.frames)
    masks = None if paths.annotations is None else open_video(paths.annotations)
    description = {
        "name": video.name,
        "frames": [Path(name).name for name in video.frame_names],
        "masks": None if masks is None else [Path(name).name for name in masks.frame_names],
    }
    sample: dict[str, str | bytes] = {"__key__": key, DESCRIPTION: json.dumps(description).encode()}
    sample |= _files("frame", video)
    if masks is not None:
        sample |= _files("mask", masks)
    return ShardVideo(key, video.name, len(video)), sample


def pack_instances(key: str, source: InstanceVideo) -> tuple[ShardVideo, dict[str, str | bytes]]:
    """A video with its tracks as one sample of a shard; the categories are in the index.

    Raises:
        DataError: a frame cannot be read.
    """
    content = {"videos": [asdict(source.entry)], "annotations": [track_record(track) for track in source.tracks]}
    sample: dict[str, str | bytes] = {"__key__": key, INSTANCES: json.dumps(content).encode()}
    sample |= _files("frame", source.video)
    return ShardVideo(key, source.entry.name, len(source.entry), source.is_learnable), sample


def unpack_annotated(stored: StoredVideo) -> AnnotatedVideo:
    """What `pack_annotated` has packed; of a video that could not be read, one that raises its error when it is read.

    Raises:
        KeyError, ValueError: a member is missing or damaged.
    """
    path, name = Path(stored.url) / stored.video.name, stored.video.name
    if stored.error is not None:
        return AnnotatedVideo(_unreadable(stored, path))
    description = json.loads(stored.members[DESCRIPTION])

    def sequence(kind: str, names: list[str]) -> StreamedVideo:
        return StreamedVideo(path, name, names, _contents(stored, kind, names))

    masks = description["masks"]
    return AnnotatedVideo(sequence("frame", description["frames"]), sequence("mask", masks) if masks else None)


def unpack_instances(stored: StoredVideo, *, categories: Sequence[Category]) -> InstanceVideo:
    """What `pack_instances` has packed, as `unpack_annotated`.

    Raises:
        DataError: a wrong record among those of the video.
        KeyError, ValueError: a member is missing or damaged.
    """
    path, name = Path(stored.url), stored.video.name
    if stored.error is not None:
        video = _unreadable(stored, path)
        return InstanceVideo(video, VideoEntry(0, 1, 1, tuple(video.frame_names)), [])
    content = json.loads(stored.members[INSTANCES])
    content["categories"] = [asdict(category) for category in categories]
    annotations = parse_annotations(content, path / f"{stored.video.key}.{INSTANCES}")
    (entry,) = annotations.videos
    names = list(entry.file_names)
    frames = StreamedVideo(path, name, names, _contents(stored, "frame", names))
    return InstanceVideo(frames, entry, annotations.tracks or [])


def _files(kind: str, video: Video) -> dict[str, bytes]:
    if not isinstance(video, ImageSequence):
        raise DataError(f"{video.path}: a video file; shards hold images, which `ffmpeg -i FILE OUT/%05d.png` makes")
    return dict(zip(_members(kind, video.frame_names), video.contents(video.frame_names), strict=True))


def _contents(stored: StoredVideo, kind: str, names: Sequence[str]) -> dict[str, bytes]:
    return {name: stored.members[member] for name, member in zip(names, _members(kind, names), strict=True)}


def _members(kind: str, names: Sequence[str]) -> list[str]:
    """What the files of a video are called in a tar, after its key."""
    return [f"{kind}.{number:06d}{Path(name).suffix.lower()}" for number, name in enumerate(names)]


def _unreadable(stored: StoredVideo, path: Path) -> StreamedVideo:
    names = [f"{number:05d}" for number in range(stored.video.length)]
    return StreamedVideo(path, stored.video.name, names, {}, stored.error)
