"""The sample data: written once, in the layouts of DAVIS, YouTube-VOS and YouTube-VIS."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightvid.errors import DataError

from .davis import DAVIS
from .synthesis import CATEGORIES, SyntheticClip, synthesise_clip

VERSION = "1"  # raise it when the drawn data changes: older data is then made again
MARKER = "lightvid-sample-version.txt"
CLIPS = {"train": 24, "valid": 6}
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


def make_sample_data(root: str | Path = "data/sample") -> Path:
    """Write the sample data, unless this version of it is there; takes some seconds and 40 MB.

    The folders `davis` (also with `Clean`, the frames without objects), `youtube_vos` (every fifth frame annotated) and
    `youtube_vis` (every second frame) hold the same clips. A folder that was left incomplete is made again.

    Raises:
        DataError: `root` holds something else.
    """
    root = Path(root).expanduser()
    if _is_current(root):
        return root
    if root.exists() and any(root.iterdir()) and not (root / MARKER).exists():
        raise DataError(f"{root}: holds other files; the sample data needs a folder of its own")
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
    return root


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Uncompressed run lengths of an `(H, W)` mask, down the columns, the first run of zeros, as in COCO."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    if len(changes) and changes[-1] == mask.size:
        counts = counts[:-1]
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def _is_current(root: Path) -> bool:
    return (root / MARKER).is_file() and (root / MARKER).read_text() == VERSION


def _write(root: Path) -> None:
    for split, (split_number, count) in zip(CLIPS, enumerate(CLIPS.values()), strict=True):
        names = [f"{split}-{number:02d}" for number in range(count)]
        clips = {}
        for number, name in enumerate(names):
            rng = np.random.default_rng([int(VERSION), split_number, number])
            clip = synthesise_clip(rng, length=LENGTH, height=HEIGHT, width=WIDTH)
            _write_davis(root / "davis", name, clip)
            _link_youtube(root, split, name)
            clips[name] = clip
        listing = root / "davis" / "ImageSets" / "2017" / ("train.txt" if split == "train" else "val.txt")
        _write_text(listing, "".join(f"{name}\n" for name in names))
        _write_text(root / "youtube_vos" / split / "meta.json", json.dumps(_vos_meta(clips)))
        _write_text(root / "youtube_vis" / f"{split}.json", json.dumps(_vis_annotations(clips)))
    _write_text(root / MARKER, VERSION)


def _write_davis(root: Path, name: str, clip: SyntheticClip) -> None:
    for folder, pictures in (("JPEGImages", clip.frames), ("Clean", clip.background)):
        target = root / folder / "480p" / name
        target.mkdir(parents=True)
        for time, picture in enumerate(pictures):
            _, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), JPEG)
            (target / f"{time:05d}.jpg").write_bytes(content.tobytes())
    target = root / "Annotations" / "480p" / name
    target.mkdir(parents=True)
    for time, mask in enumerate(clip.masks):
        image = Image.fromarray(mask, mode=None)
        image.putpalette(_davis_palette())
        image.save(target / f"{time:05d}.png")


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


def _vos_meta(clips: dict[str, SyntheticClip]) -> dict[str, Any]:
    videos = {}
    for name, clip in clips.items():
        objects = {}
        for number, category in enumerate(clip.categories, start=1):
            frames = [f"{time:05d}" for time in range(0, LENGTH, 5) if (clip.masks[time] == number).any()]
            if frames:
                objects[str(number)] = {"category": category, "frames": frames}
        videos[name] = {"objects": objects}
    return {"videos": videos}


def _vis_annotations(clips: dict[str, SyntheticClip]) -> dict[str, Any]:
    """The YouTube-VIS 2019 schema."""
    times = range(0, LENGTH, 2)
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video_id, (name, clip) in enumerate(clips.items(), start=1):
        size = {"width": WIDTH, "height": HEIGHT}
        files = [f"{name}/{time:05d}.jpg" for time in times]
        videos.append({"id": video_id, **size, "length": len(files), "file_names": files})
        for number, category in enumerate(clip.categories, start=1):
            masks = clip.masks[::2] == number
            if masks.any():
                ids = {"id": len(annotations) + 1, "video_id": video_id, "category_id": CATEGORIES.index(category) + 1}
                annotations.append({**ids, "iscrowd": 0, **size, "length": 1, **_vis_track(masks)})
    categories = [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CATEGORIES, start=1)]
    info = {"description": f"lightvid sample data, version {VERSION}"}
    return {"info": info, "licenses": [], "videos": videos, "categories": categories, "annotations": annotations}


def _vis_track(masks: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """Masks, boxes (x, y, width, height) and areas of one instance over `(T, H, W)`; None where it is not seen."""
    track: dict[str, list[Any]] = {"segmentations": [], "bboxes": [], "areas": []}
    for mask in masks:
        seen = bool(mask.any())
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners = (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1) if seen else ()
        track["segmentations"].append(encode_rle(mask) if seen else None)
        track["bboxes"].append([float(value) for value in corners] or None)
        track["areas"].append(int(mask.sum()) or None)
    return track


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
