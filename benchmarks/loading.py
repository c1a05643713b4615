"""How fast clips are read and masked, beside a loader that does the published steps one by one.

    python benchmarks/loading.py [--root DAVIS_FOLDER] [--clips 24] [--rounds 7]

Both read the same zips of JPEG images and deliver 5 frames of 432x240 and masks as floats. The plain loader decodes and
resizes with Pillow (bicubic) and draws the mask with matplotlib for every frame of the video, as the published trainers
do. All loaders take turns in short rounds, so that other load on the machine meets all alike; the factor is the median
over the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightvid.datamodules import ByteBatch, VideoFolder, make_sample_data
from lightvid.datamodules.masks import random_moving_masks
from lightvid.datamodules.sampling import sample_frames
from lightvid.video import open_video

HEIGHT, WIDTH, FRAMES, LENGTH, BATCH = 240, 432, 5, 90, 2
SIZES = {"432x240": (240, 432), "1280x720": (720, 1280)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="a folder in DAVIS's layout; by default the sample data")
    parser.add_argument("--clips", type=int, default=24, help="clips that each loader reads in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    root = options.root or make_sample_data() / "davis"
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    print(f"{'source':10}  {'workers':>7}  {'loader':16}  {'ms a clip':>9}  {'clips/s':>8}  {'x':>5}")
    for label, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            write_zips(root, Path(folder), size)
            for workers in (0, 2):
                compare(f"{label:10}  {workers:7}", Path(folder), workers, options.clips, options.rounds)
    rng = np.random.default_rng(0)
    ours = seconds_each(lambda: random_moving_masks(rng, LENGTH, HEIGHT, WIDTH, range(FRAMES)), 200)
    published = seconds_each(lambda: published_masks(rng, LENGTH, HEIGHT, WIDTH), 20)
    print(f"masks of a {LENGTH}-frame video: {1000 * ours:.2f} ms a call; published method {1000 * published:.1f} ms")


def compare(label: str, folder: Path, workers: int, clips: int, rounds: int) -> None:
    """Time the plain loader and ours, with and without reduced decoding, in turns; the first round is not counted."""
    fast, exact = (lightvid_loader(folder, workers, clips, reduced_decoding=reduced) for reduced in (True, False))
    videos = [video.path for video, _ in fast.dataset.videos]  # type: ignore[attr-defined]
    plain = DataLoader(
        PlainClips(videos, clips),
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=fast.worker_init_fn,
    )
    loaders: dict[str, Callable[[], Iterable[object]]] = {
        "plain": lambda: plain,
        "lightvid": lambda: map(ByteBatch.to_float, fast),
        "lightvid (exact)": lambda: map(ByteBatch.to_float, exact),
    }
    times = np.array([[seconds_a_clip(batches()) for batches in loaders.values()] for _ in range(rounds + 1)])[1:]
    for name, seconds in zip(loaders, times.T, strict=True):
        typical, factor = np.median(seconds), np.median(times[:, 0] / seconds)
        print(f"{label}  {name:16}  {1000 * typical:9.1f}  {1 / typical:8.1f}  {factor:5.1f}")


def lightvid_loader(folder: Path, workers: int, clips: int, *, reduced_decoding: bool) -> DataLoader[ByteBatch]:
    videos = len(list(folder.iterdir()))
    data = VideoFolder(
        str(folder),
        validation_fraction=1 / videos,
        clips_per_video=-(-clips // (videos - 1)),
        height=HEIGHT,
        width=WIDTH,
        frames=FRAMES,
        batch_size=BATCH,
        workers=workers,
        reduced_decoding=reduced_decoding,
    )
    data.setup("fit")
    return data.train_dataloader()


class PlainClips(Dataset[tuple[Tensor, Tensor]]):
    """The published steps, written plainly."""

    def __init__(self, videos: list[Path], clips: int) -> None:
        self.videos = videos
        self.clips = clips

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(index)
        with zipfile.ZipFile(self.videos[index % len(self.videos)]) as archive:
            names = sorted(archive.namelist())
            chosen = sample_frames(rng, len(names), FRAMES)
            frames = []
            for frame in chosen:
                with archive.open(names[frame]) as file:
                    frames.append(Image.open(file).convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
        if rng.random() < 0.5:
            frames = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in frames]
        masks = published_masks(rng, len(names), HEIGHT, WIDTH)[chosen]
        clip = torch.from_numpy(np.stack([np.asarray(frame) for frame in frames])).permute(0, 3, 1, 2).contiguous()
        return clip.float() / 255 * 2 - 1, torch.from_numpy(masks)[:, None].float()


def published_masks(rng: np.random.Generator, length: int, height: int, width: int) -> NDArray[np.uint8]:
    """`(length, height, width)` masks, the shape drawn with matplotlib and pasted into every frame of the video."""
    edges, ratio = int(rng.integers(6, 9)), float(rng.choice((0.6, 0.7, 0.8)))
    angles = np.linspace(0, 2 * np.pi, 3 * edges + 1)
    radii = 1 - ratio + 2 * ratio * rng.random(len(angles))
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points[-1] = points[0]
    figure, axes = pyplot.subplots()
    axes.add_patch(PathPatch(Outline(points, [Outline.MOVETO, *[Outline.CURVE4] * (3 * edges)]), facecolor="k", lw=2))
    axes.set_xlim(points.min() * 1.1, points.max() * 1.1)
    axes.set_ylim(points.min() * 1.1, points.max() * 1.1)
    axes.axis("off")
    figure.canvas.draw()
    canvas = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
    pyplot.close(figure)
    box = int(rng.integers(width // 3, width)), int(rng.integers(height // 3, height))
    hole = np.asarray(Image.fromarray(canvas).resize(box, Image.Resampling.BILINEAR))[..., 0] == 0
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    shape = hole[rows[0] : rows[-1], columns[0] : columns[-1]]
    masks = np.zeros((length, height, width), np.uint8)
    top, left = rng.integers(height - shape.shape[0] + 1), rng.integers(width - shape.shape[1] + 1)
    for mask in masks:
        mask[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return masks


def write_zips(root: Path, folder: Path, size: tuple[int, int]) -> None:
    """Up to eight videos of a DAVIS folder as zips of JPEG images of one size."""
    for source in sorted((root / "JPEGImages" / "480p").iterdir())[:8]:
        video = open_video(source)
        with zipfile.ZipFile(folder / f"{video.name}.zip", "w") as archive:
            for index in range(len(video)):
                frame = cv2.resize(video.read([index])[0], size[::-1], interpolation=cv2.INTER_CUBIC)
                _, content = cv2.imencode(".jpg", frame[..., ::-1])
                archive.writestr(f"{index:05d}.jpg", content.tobytes())


def seconds_a_clip(batches: Iterable[object]) -> float:
    """From the first batch to the last: starting the workers is not counted."""
    batches = iter(batches)
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - start) / (BATCH * count)


def seconds_each(function: Callable[[], object], times: int) -> float:
    function()
    start = time.perf_counter()
    for _ in range(times):
        function()
    return (time.perf_counter() - start) / times


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()
