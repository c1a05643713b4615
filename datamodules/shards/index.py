"""What is in a folder of tar shards: its index, written last, read first."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from lightvid.annotations.youtube_vis import Category
from lightvid.errors import DataError

from ..layout import Split
from .files import REMOTE, open_file

Kind = Literal["inpainting", "instances"]
INDEX_FILE = "index.json"
PARTIAL_INDEX = f".{INDEX_FILE}.partial"
VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation")
FILE_NAME = re.compile(r"[\w-][\w.-]*")


class ShardVideo(NamedTuple):
    """A video in a shard.

    Attributes:
        key: of its members in the tar.
        name: of the video.
        length: frames.
        is_learnable: whether there is something in it to train on; of instances, see `InstanceVideo`.
    """

    key: str
    name: str
    length: int
    is_learnable: bool = True


@dataclass(frozen=True)
class Shard:
    """A tar and the videos in it, in their order.

    Attributes:
        url: a path or an address, see `open_file`.
    """

    url: str
    videos: list[ShardVideo]


@dataclass(frozen=True)
class Index:
    """All shards of a dataset.

    Attributes:
        kind: of the clips that their videos are for: with holes, or with instances.
        splits: the shards of each.
        categories: of instances, as in an annotation file.
    """

    kind: Kind
    splits: Mapping[Split, list[Shard]]
    categories: list[Category] = field(default_factory=list)


def read_index(root: str) -> Index:
    """What shards there are; an index without a kind, as they first were, is of inpainting.

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
        return _index(root, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place}: not an index of shards ({type(error).__name__}: {error})") from None


def write_index(folder: Path, index: Index) -> None:
    """Write the index of shards that lie in a folder; it appears when it is complete."""
    content: dict[str, Any] = {"version": VERSION, "kind": index.kind}
    if index.categories:
        content["categories"] = [asdict(category) for category in index.categories]
    for split, shards in index.splits.items():
        content[split] = [{"file": Path(shard.url).name, "videos": list(map(list, shard.videos))} for shard in shards]
    partial = folder / PARTIAL_INDEX
    try:
        partial.write_text(json.dumps(content, indent=1) + "\n")
        os.replace(partial, folder / INDEX_FILE)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _index(root: str, content: dict[str, Any]) -> Index:
    kind: Kind = content.get("kind", "inpainting")
    if kind not in get_args(Kind):
        raise ValueError(f"shards of {kind}")
    categories = content["categories"] if kind == "instances" else []
    return Index(
        kind,
        {split: [_shard(root, shard) for shard in content[split]] for split in SPLITS},
        [Category(int(category["id"]), str(category["name"])) for category in categories],
    )


def _shard(root: str, content: dict[str, Any]) -> Shard:
    file = str(content["file"])
    if not FILE_NAME.fullmatch(file):
        raise DataError(f"{_join(root, INDEX_FILE)}: '{file}' is not the name of a file beside it")
    videos = [ShardVideo(str(k), str(name), int(n), *map(bool, more)) for k, name, n, *more in content["videos"]]
    return Shard(_join(root, file), videos)


def _join(root: str, file: str) -> str:
    if root.startswith(REMOTE):
        return f"{root.rstrip('/')}/{file}"
    return str(Path(root).expanduser() / file)
