"""DAVIS 2016 and 2017."""

from __future__ import annotations

from typing import Any, Literal

from lightvid.errors import DataError

from .inpainting import InpaintingDataModule
from .layout import Split, VideoPaths, find_container, optional_container


class DAVIS(InpaintingDataModule):
    """Clips of a DAVIS folder, laid out as the benchmark's archives.

    `JPEGImages/480p/VIDEO/*.jpg` (or `VIDEO.zip`, `VIDEO.mp4`), `Annotations/480p/VIDEO/*.png` (or `VIDEO.zip`) and
    the lists `ImageSets/2017/{train,val}.txt`.

    Args:
        root: the folder that holds `JPEGImages`.
        year: of the lists, the folder within `ImageSets`.
        resolution: of the frames, the folder within `JPEGImages` and `Annotations`.
        frames_folder: read the frames from another folder than `JPEGImages`.
        options: see `InpaintingDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        year: Literal[2016, 2017] = 2017,
        resolution: Literal["480p", "Full-Resolution"] = "480p",
        frames_folder: str = "JPEGImages",
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        self.year = year
        self.resolution = resolution
        self.frames_folder = frames_folder

    def find_videos(self, split: Split) -> list[VideoPaths]:
        """See `InpaintingDataModule.find_videos`."""
        frames = self.root / self.frames_folder / self.resolution
        annotations = self.root / "Annotations" / self.resolution
        if not frames.is_dir():
            raise DataError(
                f"{frames}: no such folder (expected the DAVIS layout: ROOT/{self.frames_folder}/480p/VIDEO)"
            )
        listing = self.root / "ImageSets" / str(self.year) / ("train.txt" if split == "train" else "val.txt")
        if not listing.is_file():
            raise DataError(f"{listing}: no such list of videos (expected one video name a line)")
        names = listing.read_text().split()
        if not names:
            raise DataError(f"{listing}: an empty list of videos (expected one video name a line)")
        return [VideoPaths(find_container(frames, name), optional_container(annotations, name)) for name in names]
