"""YouTube-VOS."""

from __future__ import annotations

import json
from pathlib import Path

from lightvid.errors import DataError

from .inpainting import InpaintingDataModule
from .layout import Split, VideoPaths, find_container, optional_container


class YouTubeVOS(InpaintingDataModule):
    """Clips of a YouTube-VOS folder.

    Either laid out as the benchmark's archives: `{train,valid}/JPEGImages/VIDEO/*.jpg` (or `VIDEO.zip`, `VIDEO.mp4`),
    `{train,valid}/Annotations/VIDEO/*.png` and `{train,valid}/meta.json`, which lists the videos; or as for STTN:
    `JPEGImages/VIDEO.zip` with `train.json` and `test.json`, which map the videos' names to their lengths.
    """

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """See `InpaintingDataModule.find_videos`."""
        folder = self.root / ("train" if split == "train" else "valid")
        listing = folder / "meta.json"
        if folder.is_dir():
            names = _read_names(listing, "videos")
        else:
            listing = self.root / ("train.json" if split == "train" else "test.json")
            if not listing.is_file():
                raise DataError(
                    f"{folder}: no such folder (expected the YouTube-VOS layout {folder.name}/JPEGImages/VIDEO and "
                    f"{folder.name}/meta.json, or {listing.name} and JPEGImages/VIDEO.zip)"
                )
            folder, names = self.root, _read_names(listing)
        if not names:
            raise DataError(f"{listing}: an empty list of videos")
        frames, annotations = folder / "JPEGImages", folder / "Annotations"
        if not frames.is_dir():
            raise DataError(f"{frames}: no such folder (expected VIDEO folders, VIDEO.zip or VIDEO.mp4 in it)")
        return [VideoPaths(find_container(frames, name), optional_container(annotations, name)) for name in names]


def _read_names(path: Path, key: str | None = None) -> list[str]:
    """The names of the videos that a JSON file maps to something, at its top or under a key."""
    if not path.is_file():
        raise DataError(f"{path}: no such list of videos")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from None
    videos = content.get(key) if key is not None and isinstance(content, dict) else content
    if not isinstance(videos, dict):
        where = f"under '{key}'" if key else "at its top"
        raise DataError(f"{path}: not a list of videos (expected a mapping of their names {where})")
    return sorted(videos)
