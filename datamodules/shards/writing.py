"""`lightvid write-shards`: a dataset's videos as tar shards, which can be streamed from a slow or distant disk."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import webdataset

from lightvid.errors import ConfigurationError, DataError
from lightvid.video import Video, open_video
from lightvid.video.reading import ImageSequence

from ..arguments import Parser
from ..davis import DAVIS
from ..inpainting import InpaintingDataModule
from ..layout import Split, VideoPaths
from ..video_folder import VideoFolder
from ..youtube_vos import YouTubeVOS
from .index import INDEX_FILE, SPLITS, Shard, ShardVideo, write_index
from .stream import DESCRIPTION, members

LAYOUTS: dict[str, type[InpaintingDataModule]] = {"youtube_vos": YouTubeVOS, "davis": DAVIS, "videos": VideoFolder}


def run(arguments: list[str]) -> None:
    """Write the shards of a dataset and say how many they are.

    Raises:
        ConfigurationError: wrong arguments, or a folder that cannot be written to.
        DataError: a video of the dataset is missing or is not made of images.
    """
    options = _parse(arguments)
    target = Path(options.out).expanduser()
    data = LAYOUTS[options.data](options.root)
    if not data.root.is_dir():
        raise DataError(f"{data.root}: no such folder (--root is the folder of the dataset)")
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise ConfigurationError(f"{target}: holds other files; shards need a folder of their own")
        written = write_shards(data, target, shard_bytes=int(options.shard_size * 1e6))
    except OSError as error:
        raise ConfigurationError(f"{target}: cannot write shards ({error.strerror})") from None
    for split, shards in written.items():
        print(f"{split}: {sum(len(shard.videos) for shard in shards)} videos in {len(shards)} shards")
    print(f"{target}: train on it with data=shards data.root={target}")


def write_shards(data: InpaintingDataModule, folder: Path, *, shard_bytes: int) -> dict[Split, list[Shard]]:
    """Write the videos of both splits with their annotations, files as they are, and last the index; or nothing.

    Args:
        data: knows where the videos are.
        folder: an empty one.
        shard_bytes: a shard ends with the video that reaches so many.

    Raises:
        DataError: a video is missing or is not made of images.
    """
    try:
        written = {split: list(_write_split(data, split, folder, shard_bytes)) for split in SPLITS}
        write_index(folder, written)
    except BaseException:  # an interrupt, too: another attempt needs the folder empty
        for file in (folder / INDEX_FILE, *(tar for split in SPLITS for tar in folder.glob(f"{split}-*.tar"))):
            file.unlink(missing_ok=True)
        raise
    return written


def _write_split(data: InpaintingDataModule, split: Split, folder: Path, shard_bytes: int) -> Iterator[Shard]:
    rest = iter(enumerate(data.find_videos(split)))
    entry = next(rest, None)
    number = 0
    while entry is not None:
        path = folder / f"{split}-{number:06d}.tar"
        videos: list[ShardVideo] = []
        with path.open("wb") as stream, webdataset.TarWriter(stream, encoder=False, user="", group="", mtime=0) as tar:
            size = 0
            while entry is not None and (not videos or size < shard_bytes):
                video, sample = _read(f"{entry[0]:06d}", entry[1])
                size += tar.write(sample)
                videos.append(video)
                entry = next(rest, None)
        yield Shard(os.fspath(path), videos)
        number += 1


def _read(key: str, paths: VideoPaths) -> tuple[ShardVideo, dict[str, str | bytes]]:
    """A video as one sample of a shard: its frames, its masks and what they are called."""
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


def _files(kind: str, video: Video) -> dict[str, bytes]:
    if not isinstance(video, ImageSequence):
        raise DataError(f"{video.path}: a video file; shards hold images, which `ffmpeg -i FILE OUT/%05d.png` makes")
    return dict(zip(members(kind, video.frame_names), video.contents(video.frame_names), strict=True))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid write-shards", description="Write a dataset's videos as tar shards.")
    parser.add_argument("--data", required=True, choices=sorted(LAYOUTS), help="the dataset's layout")
    parser.add_argument("--root", required=True, help="the dataset's folder")
    parser.add_argument("-o", "--out", required=True, help="a new folder")
    parser.add_argument("--shard-size", type=float, default=500, metavar="MB", help="of a tar, about (default: 500)")
    options = parser.parse_args(arguments)
    if options.shard_size <= 0:
        parser.error(f"argument --shard-size: expected megabytes above 0, got {options.shard_size:g}")
    return options
