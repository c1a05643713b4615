"""Tiny datasets on disk."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from lightvid.annotations import rle

LENGTH, HEIGHT, WIDTH = 8, 24, 40


def write_video(root: Path, name: str, number: int, *, length: int = LENGTH, annotate_every: int = 1) -> None:
    """Frames whose colour tells video and frame, and a square instance that moves a pixel a frame."""
    frames, masks = root / "JPEGImages/480p" / name, root / "Annotations/480p" / name
    frames.mkdir(parents=True)
    masks.mkdir(parents=True)
    for time in range(length):
        picture = np.full((HEIGHT, WIDTH, 3), (20 * number, 25 * time, 128), np.uint8)
        picture[:, : WIDTH // 2, 2] = 0
        cv2.imwrite(str(frames / f"{time:05d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if time % annotate_every == 0:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[8:12, 4 + time : 8 + time] = 1 + number % 3
            image = Image.fromarray(mask)
            image.putpalette([255, 0, 0] * 256)
            image.save(masks / f"{time:05d}.png")


@pytest.fixture
def davis_root(tmp_path: Path) -> Path:
    """DAVIS's layout: six videos to train on, three to validate on."""
    root = tmp_path / "davis"
    names = {"train": [f"t{i}" for i in range(6)], "val": [f"v{i}" for i in range(3)]}
    lists = root / "ImageSets/2017"
    lists.mkdir(parents=True)
    for offset, (split, videos) in enumerate(names.items()):
        (lists / f"{split}.txt").write_text("\n".join(videos) + "\n")
        for number, name in enumerate(videos, start=6 * offset):
            write_video(root, name, number)
    return root


@pytest.fixture
def youtube_root(davis_root: Path) -> Path:
    """The same videos in YouTube-VOS's layout, every fifth frame annotated."""
    root = davis_root.parent / "youtube"
    for split, prefix in (("train", "t"), ("valid", "v")):
        names = sorted(path.name for path in (davis_root / "JPEGImages/480p").glob(f"{prefix}*"))
        for kind, step in (("JPEGImages", 1), ("Annotations", 5)):
            for name in names:
                target = root / split / kind / name
                target.mkdir(parents=True)
                for file in sorted((davis_root / kind / "480p" / name).iterdir())[::step]:
                    (target / file.name).hardlink_to(file)
        (root / split / "meta.json").write_text(json.dumps({"videos": {name: {"objects": {}} for name in names}}))
    return root


VIS_CATEGORIES = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]  # neither sorted nor from 1


def write_vis(folder: Path, names: list[str], *, length: int = LENGTH) -> dict[str, Any]:
    """Frames with a red square that moves a pixel a frame and a blue one in the first half; the annotation record."""
    videos, tracks = [], []
    for number, name in enumerate(names, 1):
        (folder / name).mkdir(parents=True)
        red, blue = np.zeros((2, length, HEIGHT, WIDTH), np.uint8)
        for time in range(length):
            red[time, 8:14, 4 + time : 12 + time] = 1
            blue[time, 2:20, 30:38] = time < length // 2
            picture = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            picture[red[time] > 0] = (250, 0, 0)
            picture[blue[time] > 0] = (0, 0, 250)
            cv2.imwrite(str(folder / name / f"{5 * time:05d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        size = {"width": WIDTH, "height": HEIGHT}
        files = [f"{name}/{5 * time:05d}.png" for time in range(length)]
        videos.append({"id": number, **size, "length": length, "file_names": files})
        for category, masks in ((7, red), (3, blue)):
            ids = {"id": len(tracks) + 1, "video_id": number, "category_id": category, "iscrowd": 0, **size}
            tracks.append({**ids, **_vis_lists(masks)})
    return {"videos": videos, "categories": VIS_CATEGORIES, "annotations": tracks}


def _vis_lists(masks: np.ndarray) -> dict[str, list]:
    seen = [bool(mask.any()) for mask in masks]
    segmentations = [dict(rle.encode(mask)) if s else None for mask, s in zip(masks, seen, strict=True)]
    boxes = [cv2.boundingRect(mask) if s else None for mask, s in zip(masks, seen, strict=True)]
    areas = [int(mask.sum()) if s else None for mask, s in zip(masks, seen, strict=True)]
    return {"segmentations": segmentations, "bboxes": boxes, "areas": areas}


@pytest.fixture
def vis_root(tmp_path: Path) -> Path:
    """The layout of YouTube-VIS 2019: six videos to train on, two to validate on."""
    root = tmp_path / "vis"
    for split, names in (("train", [f"t{i}" for i in range(6)]), ("valid", ["v0", "v1"])):
        content = write_vis(root / split / "JPEGImages", names)
        (root / f"{split}.json").write_text(json.dumps(content))
    return root
