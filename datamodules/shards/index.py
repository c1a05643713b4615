"""What is in a folder of tar shards: its index, written last, read first."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lightvid.errors import DataError

from ..layout import Split
from .files import REMOTE, open_file

INDEX_FILE = "index.json"
VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation")
FILE_NAME = re.compile(r"[\w-][\w.-]*")


class ShardVideo(NamedTuple):
    """A video in a shard: the key of its members in the tar, its name, and its number of frames."""

    key: str
    name: str
    length: int


@dataclass(frozen=True)
class Shard:
    """A tar and the videos in it, in their order.

    Attributes:
        url: a path or an address, see `open_file`.
    """

    url: str
    videos: list[ShardVideo]


def read_index(root: str) -> dict[Split, list[Shard]]:
    """The shards of each split.

    Args:
        root: a folder, or the address of one: `https://...`, `http://...` or `gs://...`.

    Raises:
        DataError: there is no index, or it is damaged, cannot be fetched, or names files outside of its folder.
    """
    place = _join(root, INDEX_FILE)
    try:
        with open_file(place) as stream:
            content = json.loads(stream.read())
    except OSError:
        raise DataError(
            f"{place}: no such index of shards (written last by `lightvid write-shards`, which may not have finished)"
        ) from None
    except ValueError as error:
        raise DataError(f"{place}: not readable as JSON ({error})") from None
    try:
        if content["version"] != VERSION:
            raise DataError(f"{place}: version {content['version']} of an index, and this program knows {VERSION}")
        return {split: [_shard(root, shard) for shard in content[split]] for split in SPLITS}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{place}: not an index of shards ({type(error).__name__}: {error})") from None


def write_index(folder: Path, splits: dict[Split, list[Shard]]) -> None:
    """Write the index of shards that lie in a folder."""
    content: dict[str, Any] = {"version": VERSION}
    for split, shards in splits.items():
        content[split] = [{"file": Path(shard.url).name, "videos": list(map(list, shard.videos))} for shard in shards]
    (folder / INDEX_FILE).write_text(json.dumps(content, indent=1) + "\n")


def _shard(root: str, content: dict[str, Any]) -> Shard:
    file = str(content["file"])
    if not FILE_NAME.fullmatch(file):
        raise DataError(f"{_join(root, INDEX_FILE)}: '{file}' is not the name of a file beside it")
    return Shard(
        _join(root, file), [ShardVideo(str(k), str(name), int(length)) for k, name, length in content["videos"]]
    )


def _join(root: str, file: str) -> str:
    if root.startswith(REMOTE):
        return f"{root.rstrip('/')}/{file}"
    return str(Path(root).expanduser() / file)
