"""`lightvid write-shards`: a dataset's videos as tar shards, which can be streamed from a slow or distant disk."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import webdataset

from lightvid.annotations.youtube_vis import Category
from lightvid.commands.arguments import Parser
from lightvid.errors import ConfigurationError, DataError

from ..davis import DAVIS
from ..inpainting import InpaintingDataModule
from ..layout import Split
from ..video_folder import VideoFolder
from ..youtube_vis import YouTubeVISDataModule
from ..youtube_vos import YouTubeVOS
from .index import INDEX_FILE, PARTIAL_INDEX, SPLITS, Index, Kind, Shard, ShardVideo, write_index
from .samples import pack_annotated, pack_instances

Dataset = InpaintingDataModule | YouTubeVISDataModule
LAYOUTS: dict[str, type[Dataset]] = {
    "davis": DAVIS,
    "ovis": YouTubeVISDataModule,
    "videos": VideoFolder,
    "youtube_vis": YouTubeVISDataModule,
    "youtube_vos": YouTubeVOS,
}
ANNOTATION_OPTIONS = ("annotations", "validation_annotations")
TASKS: dict[Kind, str] = {"inpainting": "inpaint", "instances": "vis"}


class Source(NamedTuple):
    """What shards are written of.

    Attributes:
        kind: see `Index`.
        videos: of each split.
        pack: makes a sample of a key and one of them.
        categories: see `Index`.
    """

    kind: Kind
    videos: Mapping[Split, Sequence[Any]]
    pack: Callable[[str, Any], tuple[ShardVideo, dict[str, str | bytes]]]
    categories: list[Category]


def run(arguments: list[str]) -> None:
    """Write the shards of a dataset and say how many they are.

    Raises:
        ConfigurationError: wrong arguments, or a folder that cannot be written to.
        DataError: a video or a record of the dataset is missing or wrong, or a video is not made of images.
    """
    options = _parse(arguments)
    target = Path(options.out).expanduser()
    chosen = {name: getattr(options, name) for name in ANNOTATION_OPTIONS if getattr(options, name) is not None}
    data = LAYOUTS[options.data](options.root, **chosen)
    if not data.root.is_dir():
        raise DataError(f"{data.root}: no such folder (--root is the folder of the dataset)")
    try:
        target.mkdir(parents=True, exist_ok=True)
        _check_empty(target)
        index = write_shards(data, target, shard_bytes=int(options.shard_size * 1e6))
    except OSError as error:
        raise ConfigurationError(f"{target}: cannot write shards ({error.strerror})") from None
    for split, shards in index.splits.items():
        print(f"{split}: {sum(len(shard.videos) for shard in shards)} videos in {len(shards)} shards")
    print(f"{target}: train on it with task={TASKS[index.kind]} data=shards data.root={target}")


def write_shards(data: Dataset, folder: Path, *, shard_bytes: int) -> Index:
    """Write the videos of both splits with their annotations, files as they are, and last the index; or nothing.

    Args:
        data: knows where the videos are and, of instances, which annotation files are taken.
        folder: an empty one.
        shard_bytes: a shard ends with the video that reaches so many.

    Raises:
        DataError: a video or a record is missing or wrong, or a video is not made of images.
    """
    source = _open(data)
    try:
        splits = {split: list(_write_split(source, split, folder, shard_bytes)) for split in SPLITS}
        index = Index(source.kind, splits, source.categories)
        write_index(folder, index)
    except BaseException:  # an interrupt, too: another attempt needs the folder empty
        for file in (folder / INDEX_FILE, *_unfinished(folder)):
            file.unlink(missing_ok=True)
        raise
    return index


def _open(data: Dataset) -> Source:
    if isinstance(data, InpaintingDataModule):
        return Source("inpainting", {split: data.find_videos(split) for split in SPLITS}, pack_annotated, [])
    files = data.choose_files("fit")
    way_out = "put it there, or choose annotations without this video: --annotations, --validation-annotations"
    videos = {split: data.open_videos(split, files[split], way_out=way_out) for split in SPLITS}
    return Source("instances", videos, pack_instances, files["train"].categories)


def _write_split(source: Source, split: Split, folder: Path, shard_bytes: int) -> Iterator[Shard]:
    rest = iter(enumerate(source.videos[split]))
    entry = next(rest, None)
    number = 0
    while entry is not None:
        path = folder / f"{split}-{number:06d}.tar"
        videos: list[ShardVideo] = []
        with path.open("wb") as stream, webdataset.TarWriter(stream, encoder=False, user="", group="", mtime=0) as tar:
            size = 0
            while entry is not None and (not videos or size < shard_bytes):
                video, sample = source.pack(f"{entry[0]:06d}", entry[1])
                size += tar.write(sample)
                videos.append(video)
                entry = next(rest, None)
        yield Shard(os.fspath(path), videos)
        number += 1


def _check_empty(folder: Path) -> None:
    files = set(folder.iterdir())
    if files and files == set(_unfinished(folder)):
        raise ConfigurationError(
            f"{folder}: holds shards without an {INDEX_FILE}, of a `write-shards` that was killed or is still running: "
            "delete the folder to write again, or take another"
        )
    if files:
        raise ConfigurationError(f"{folder}: holds other files; shards need a folder of their own")


def _unfinished(folder: Path) -> list[Path]:
    return [file for name in (*(f"{split}-*.tar" for split in SPLITS), PARTIAL_INDEX) for file in folder.glob(name)]


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog="lightvid write-shards", description="Write a dataset's videos as tar shards.")
    parser.add_argument("--data", required=True, choices=sorted(LAYOUTS), help="the dataset's layout")
    parser.add_argument("--root", required=True, help="the dataset's folder")
    parser.add_argument("-o", "--out", required=True, help="a new folder")
    parser.add_argument("--shard-size", type=float, default=500, metavar="MB", help="of a tar, about (default: 500)")
    parser.add_argument("--annotations", metavar="FILE", help="of instances to train on (default: the one found)")
    parser.add_argument("--validation-annotations", metavar="FILE", help="likewise to validate on")
    options = parser.parse_args(arguments)
    if not (options.shard_size > 0 and math.isfinite(options.shard_size)):
        parser.error(f"argument --shard-size: expected megabytes above 0, got {options.shard_size:g}")
    for name in ANNOTATION_OPTIONS:
        if getattr(options, name) is not None and LAYOUTS[options.data] is not YouTubeVISDataModule:
            parser.error(f"argument --{name.replace('_', '-')}: of youtube_vis and ovis alone, not of {options.data}")
    return options
