"""The sample data: written once, in the layouts of DAVIS, YouTube-VOS and YouTube-VIS."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightvid.errors import DataError

from .davis import DAVIS
from .sample_annotations import Objects, vis_annotations, vos_meta
from .synthesis import SyntheticClip, synthesise_clip
from .youtube_vis import YouTubeVISDataModule

VERSION = "2"  # raise it when the drawn data changes: older data is then made again
MARKER = "lightvid-sample-version.txt"
SEED = 1
CLIPS = {"train": 24, "valid": 6}
FURTHER_CLIPS = {"train": 72, "valid": 6}  # for YouTube-VIS alone: instances take more examples than holes
LENGTH, HEIGHT, WIDTH = 30, 128, 224
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
Bytes = NDArray[np.uint8]


class SampleData(DAVIS):
    """Drawn clips of textured objects over moving backgrounds, in the layout of DAVIS; written on first use.

    Args:
        root: where the sample data is or will be; this reads its folder `davis`.
        frames_folder: "JPEGImages", or "Clean" for the same clips without their objects.
        options: see `InpaintingDataModule`.
    """

    def __init__(self, root: str = "data/sample", *, frames_folder: str = "JPEGImages", **options: Any) -> None:
        super().__init__(root, frames_folder=frames_folder, **options)
        self.sample_root = self.root
        self.root = self.sample_root / "davis"

    def prepare_data(self) -> None:
        """Write the data, unless it is there."""
        make_sample_data(self.sample_root)


class SampleInstances(YouTubeVISDataModule):
    """Drawn clips of textured objects, in the layout of YouTube-VIS; written on first use.

    Args:
        root: where the sample data is or will be; this reads its folder `youtube_vis`.
        options: see `YouTubeVISDataModule`.
    """

    def __init__(self, root: str = "data/sample", **options: Any) -> None:
        super().__init__(root, **options)
        self.sample_root = self.root
        self.root = self.sample_root / "youtube_vis"

    def prepare_data(self) -> None:
        """Write the data, unless it is there."""
        make_sample_data(self.sample_root)


def make_sample_data(root: str | Path = "data/sample") -> Path:
    """Write the sample data, unless this version of it is there; takes some seconds and 60 MB.

    The folders `davis` (also with `Clean`, the frames without objects), `youtube_vos` (every fifth frame annotated) and
    `youtube_vis` (every second frame) hold the same clips, and `youtube_vis` further ones. A folder that was left
    incomplete is made again.

    Raises:
        DataError: `root` holds something else, or cannot be written.
    """
    root = Path(root).expanduser()
    if _is_current(root):
        return root
    if (root.exists() or root.is_symlink()) and not root.is_dir():
        raise DataError(f"{root}: a file, or a link to no folder; the sample data needs a folder of its own")
    if root.exists() and any(root.iterdir()) and not (root / MARKER).exists():
        raise DataError(f"{root}: holds other files; the sample data needs a folder of its own")
    try:
        _make(root)
    except OSError as error:
        raise DataError(
            f"{root}: the sample data cannot be written ({error.strerror}); data.root=FOLDER takes another folder"
        ) from error
    return root


def _make(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    # Another process sees either nothing or all of it.
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as temporary:
        made = Path(temporary) / root.name
        _write(made)
        if root.exists() and not _is_current(root):
            shutil.rmtree(root)
        try:
            made.rename(root)
        except OSError:
            if not _is_current(root):  # else another process was faster
                raise


def _is_current(root: Path) -> bool:
    return (root / MARKER).is_file() and (root / MARKER).read_text() == VERSION


def _write(root: Path) -> None:
    for split_number, split in enumerate(CLIPS):
        _write_split(root, split, [SEED, split_number])
    _write_text(root / MARKER, VERSION)


def _write_split(root: Path, split: str, seed: list[int]) -> None:
    numbers = range(CLIPS[split] + FURTHER_CLIPS[split])
    with ThreadPoolExecutor() as pool:  # drawing and encoding mostly run outside the interpreter's lock
        shared = dict(pool.map(lambda n: _write_shared(root, split, [*seed, n]), numbers[: CLIPS[split]]))
        further = dict(pool.map(lambda n: _write_further(root, split, [*seed, n]), numbers[CLIPS[split] :]))
    listing = root / "davis" / "ImageSets" / "2017" / ("train.txt" if split == "train" else "val.txt")
    _write_text(listing, "".join(f"{name}\n" for name in shared))
    _write_text(root / "youtube_vos" / split / "meta.json", json.dumps(vos_meta(shared)))
    instances = {name: clip.every(2) for name, clip in shared.items()} | further
    _write_text(root / "youtube_vis" / f"{split}.json", json.dumps(vis_annotations(instances, step=2, version=VERSION)))


def _write_shared(root: Path, split: str, seed: list[int]) -> tuple[str, Objects]:
    """Write a clip in all three layouts."""
    name = f"{split}-{seed[-1]:02d}"
    clip = synthesise_clip(np.random.default_rng(seed), length=LENGTH, height=HEIGHT, width=WIDTH)
    _write_davis(root / "davis", name, clip)
    _link_youtube(root, split, name)
    return name, Objects(clip.masks, clip.categories)


def _write_further(root: Path, split: str, seed: list[int]) -> tuple[str, Objects]:
    """Write every second frame of a clip in the layout of YouTube-VIS."""
    name = f"{split}-{seed[-1]:02d}"
    clip = synthesise_clip(np.random.default_rng(seed), length=LENGTH, height=HEIGHT, width=WIDTH, step=2)
    _write_frames(root / "youtube_vis" / split / "JPEGImages" / name, clip.frames, step=2)
    return name, Objects(clip.masks, clip.categories)


def _write_davis(root: Path, name: str, clip: SyntheticClip) -> None:
    for folder, pictures in (("JPEGImages", clip.frames), ("Clean", clip.background)):
        _write_frames(root / folder / "480p" / name, pictures)
    target = root / "Annotations" / "480p" / name
    target.mkdir(parents=True)
    for time, mask in enumerate(clip.masks):
        image = Image.fromarray(mask, mode=None)
        image.putpalette(_davis_palette())
        image.save(target / f"{time:05d}.png")


def _write_frames(target: Path, frames: Bytes, *, step: int = 1) -> None:
    """Write frames under the numbers 0, `step`, 2 `step`, ..."""
    target.mkdir(parents=True)
    for number, picture in enumerate(frames):
        _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG)
        (target / f"{number * step:05d}.jpg").write_bytes(content.tobytes())


def _link_youtube(root: Path, split: str, name: str) -> None:
    """Every frame and every fifth mask for YouTube-VOS, every second frame for YouTube-VIS."""
    source = root / "davis"
    frames, masks = source / "JPEGImages" / "480p" / name, source / "Annotations" / "480p" / name
    for folder, files in (
        (root / "youtube_vos" / split / "JPEGImages" / name, sorted(frames.iterdir())),
        (root / "youtube_vos" / split / "Annotations" / name, sorted(masks.iterdir())[::5]),
        (root / "youtube_vis" / split / "JPEGImages" / name, sorted(frames.iterdir())[::2]),
    ):
        folder.mkdir(parents=True)
        for file in files:
            _link(file, folder / file.name)


def _davis_palette() -> list[int]:
    """The benchmark's 256 colours: the bits of an index spread over the high bits of red, green and blue."""
    colours = []
    for index in range(256):
        channels = [sum((index >> (3 * bit + c) & 1) << (7 - bit) for bit in range(3)) for c in range(3)]
        colours += channels
    return colours


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
