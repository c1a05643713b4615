"""Tiny datasets on disk."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

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
