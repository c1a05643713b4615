"""Where the files of a dataset are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Split = Literal["train", "validation"]


class VideoPaths(NamedTuple):
    """Where one video of a dataset and its annotations are; each a folder, a zip or a video file."""

    frames: Path
    annotations: Path | None = None


def find_container(folder: Path, name: str) -> Path:
    """A video of this name: a folder, `name.zip` or `name.mp4`; the folder's path if there is none of them."""
    candidates = [folder / name, folder / f"{name}.zip", folder / f"{name}.mp4"]
    return next((path for path in candidates if path.exists()), candidates[0])


def optional_container(folder: Path, name: str) -> Path | None:
    """The annotations of this name, a folder or a zip, if there are any."""
    path = find_container(folder, name)
    return path if path.exists() else None
