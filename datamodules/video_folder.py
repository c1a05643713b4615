"""A plain folder of videos."""

from __future__ import annotations

from typing import Any

from lightvid.errors import ConfigurationError, DataError
from lightvid.video import VIDEO_SUFFIXES

from .inpainting import InpaintingDataModule
from .layout import Split, VideoPaths


class VideoFolder(InpaintingDataModule):
    """Clips of whatever videos a folder holds: video files, folders of images, zips of images.

    Args:
        root: the folder.
        validation_fraction: part of the videos, evenly spread over the sorted names, that is kept for validation: at
            least one.
        options: see `InpaintingDataModule`; without annotations the masks can only be "moving" or "stationary".
    """

    def __init__(self, root: str, *, validation_fraction: float = 0.1, **options: Any) -> None:
        super().__init__(root, **options)
        if not 0 < validation_fraction < 1:
            raise ConfigurationError(f"data.validation_fraction must be between 0 and 1, got {validation_fraction}")
        for kind in (self.masks, self.validation_masks):
            if kind not in ("moving", "stationary"):
                raise ConfigurationError(f"data.masks={kind} needs annotations, which a plain folder has not")
        self.validation_fraction = validation_fraction

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """See `InpaintingDataModule.find_videos`."""
        suffixes = (*VIDEO_SUFFIXES, ".zip")
        paths = sorted(
            path
            for path in self.root.iterdir()
            if not path.name.startswith(".") and (path.is_dir() or path.suffix.lower() in suffixes)
        )
        count = max(1, round(len(paths) * self.validation_fraction))
        kept = {index * len(paths) // count for index in range(count)}
        chosen = [path for index, path in enumerate(paths) if (index in kept) == (split == "validation")]
        if not chosen:
            raise DataError(
                f"{self.root}: {len(paths)} videos in it and none left for {split} (expected at least two video files, "
                "folders of images or zips)"
            )
        return [VideoPaths(path) for path in chosen]
