"""Where the files of a YouTube-VIS or OVIS folder are, in all the layouts that are in use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from lightvid.errors import DataError

logger = logging.getLogger(__name__)

VISSplit = Literal["train", "validation", "test"]
FOLDER_NAMES: dict[VISSplit, tuple[str, ...]] = {"train": ("train",), "validation": ("valid", "val"), "test": ("test",)}
# The archives of 2019, those of 2021 and 2022, VisTR's and VNext's, OVIS's, and what these projects' scripts expect.
ANNOTATION_FILES = (
    "{name}.json",
    "{name}/instances.json",
    "annotations/instances_{name}_sub.json",
    "annotations/instances_{name}.json",
    "annotations_{name}.json",
    "annotations/{name}.json",
)
VALIDATION_OF_2022 = "instances.json"


class HasFiles(Protocol):
    """A video by the paths of its frames."""

    @property
    def file_names(self) -> tuple[str, ...]:
        """Within the folder of the images."""


class Found(NamedTuple):
    """An annotation file, and the folder that its `file_names` are in."""

    file: Path
    images: Path


def find_annotations(root: str | Path, split: VISSplit) -> Found:
    """Find a split's annotation file and images; of several files the first in a fixed order, which is logged.

    Raises:
        DataError: there is none, the images are missing, or `root` is a YouTube-VOS folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder (expected the folder of a YouTube-VIS or OVIS dataset)")
    files = list_annotation_files(root, split)
    if not files:
        raise DataError(_missing_message(root, split))
    images = next((folder for folder in _image_folders(root, split) if folder.is_dir()), None)
    if images is None:
        folder = FOLDER_NAMES[split][0]
        raise DataError(
            f"{root / folder / 'JPEGImages'}: no such folder, which the frames of {files[0].name} should be in"
        )
    others = f"; not used: {', '.join(str(file) for file in files[1:])}" if files[1:] else ""
    logger.info("%s annotations: %s%s", split, files[0], others)
    return Found(files[0], images)


def list_annotation_files(root: Path, split: VISSplit) -> list[Path]:
    """All annotation files of a split that are there, the one to use first."""
    candidates = [root / pattern.format(name=name) for pattern in ANNOTATION_FILES for name in FOLDER_NAMES[split]]
    if split == "validation":
        candidates.append(root / VALIDATION_OF_2022)
    return [file for file in candidates if file.is_file()]


def find_images(root: str | Path, videos: Sequence[HasFiles]) -> Path:
    """The folder that holds the frames of these videos: the first in which there is one of the first few videos.

    Raises:
        DataError: no known folder does.
    """
    root = Path(root)
    folders = [folder for split in FOLDER_NAMES for folder in _image_folders(root, split)] + [root / "JPEGImages", root]
    for video in videos[:10]:
        for folder in folders:
            if (folder / video.file_names[0]).is_file():
                return folder
    file = videos[0].file_names[0] if videos else ""
    raise DataError(f"{root}: no frame {file} in train/JPEGImages, valid/JPEGImages or the like")


def dataset_folder(file: Path) -> Path:
    """The folder that an annotation file's images are in: its own, or the one above, as for `annotations/val.json`."""
    names = ("JPEGImages", *(name for names in FOLDER_NAMES.values() for name in names))
    folders = (file.parent, file.absolute().parent.parent)
    return next((folder for folder in folders if any((folder / name).is_dir() for name in names)), file.parent)


def is_youtube_vos(root: Path) -> bool:
    """Whether a folder is YouTube-VOS's, which users take for YouTube-VIS's: `meta.json` and PNG masks."""
    return any((root / folder / "meta.json").is_file() for folder in ("", "train", "valid"))


def _image_folders(root: Path, split: VISSplit) -> list[Path]:
    names = FOLDER_NAMES[split]
    return [root / name / "JPEGImages" for name in names] + [root / name for name in names]


def _missing_message(root: Path, split: VISSplit) -> str:
    if is_youtube_vos(root):
        return f"{root}: a YouTube-VOS folder (meta.json, masks as PNG); YouTube-VIS has one JSON file a split"
    name = FOLDER_NAMES[split][0]
    return (
        f"{root}: no {split} annotations (expected {name}.json, {name}/instances.json, "
        f"annotations/instances_{FOLDER_NAMES[split][-1]}_sub.json or annotations_{name}.json)"
    )
