"""Propagation against restoration without learning: `python benchmarks/propagation.py --root DAVIS [--pictures DIR]`.

Synthetic holes over the first frames of real clips, so that the truth is known: the published moving and stationary
masks, and an ellipse of a quarter of the height that drifts through the middle. `--pictures` writes a strip for each,
and one with the annotated objects removed, for which there is no truth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightvid.datamodules.masks import dilate, object_masks, random_moving_masks
from lightvid.inpainting.video import ClipInMemory
from lightvid.metrics.baselines import nearest_visible, telea
from lightvid.metrics.flow_estimators import dis_estimator
from lightvid.metrics.inpainting import InpaintingMetrics
from lightvid.metrics.warp_error import WarpError
from lightvid.propagation import PropagatedVideo, PropagationRestorer
from lightvid.video import Video, open_video, picture_strip, write_png

Frames = NDArray[np.uint8]
HOLES = ("ellipse", "moving", "stationary")
METHODS: dict[str, Callable[[ClipInMemory], Frames]] = {
    "Telea": lambda video: telea(video.frames, video.masks),
    "nearest visible": lambda video: nearest_visible(video.frames, video.masks),
    "propagation": lambda video: np.stack(list(PropagationRestorer().restore(video))),
}
STRIP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a copy of DAVIS 2017 (480p)")
    parser.add_argument("--frames", type=int, default=40, help="of each clip")
    parser.add_argument("--seed", type=int, default=1, help="of the holes")
    parser.add_argument("--pictures", type=Path, help="folder for strips of pictures")
    options = parser.parse_args()
    table = Table(title=f"hole PSNR (dB), SSIM, E_warp (x1000): seed {options.seed}", title_justify="left")
    for heading in (
        "clip",
        "holes",
        "hidden",
        *METHODS,
        "E_warp of\nthe truth",
        "shown by\nother frames",
        "CPU ms\na frame",
    ):
        table.add_column(heading)
    for path in sorted((options.root / "JPEGImages" / "480p").iterdir()):
        video = open_video(path)
        truth = video.read(range(min(len(video), options.frames)))
        for kind in HOLES:
            row, results = compare(truth, holes(kind, *truth.shape[:3], seed=options.seed))
            table.add_row(video.name, kind, *row)
            if options.pictures:
                write_strip(options.pictures / f"{video.name}-{kind}.png", [("truth", truth), *results])
        if options.pictures:
            masks = removal_masks(options.root, video, len(truth))
            results = [(name, method(emptied(truth, masks))) for name, method in METHODS.items()]
            write_strip(options.pictures / f"{video.name}-removed.png", [("frames", truth), *results])
    Console(width=160).print(table)


def holes(kind: str, length: int, height: int, width: int, *, seed: int) -> Frames:
    """`(length, height, width)`, 1 = hole."""
    rng = np.random.default_rng(seed)
    if kind == "ellipse":
        return drifting_ellipse(rng, length, height, width)
    return random_moving_masks(rng, length, height, width, motion="moving" if kind == "moving" else "stationary")


def drifting_ellipse(rng: np.random.Generator, length: int, height: int, width: int) -> Frames:
    """A quarter of the height, through the middle, by up to 1 and 1.5 pixels a frame."""
    start = np.array([height / 2, width / 2]) + rng.uniform((-10, -20), (10, 20))
    speed = rng.uniform((-1, -1.5), (1, 1.5))
    times = np.arange(length)[:, None, None]
    rows, columns = np.arange(height)[:, None], np.arange(width)
    down = (rows - start[0] - speed[0] * times) / (height / 8)
    across = (columns - start[1] - speed[1] * times) / (height / 8 * 1.3)
    return (down**2 + across**2 < 1).astype(np.uint8)


def removal_masks(root: Path, video: Video, length: int) -> Frames:
    annotations = open_video(root / "Annotations" / "480p" / video.name)
    return dilate(object_masks(video, annotations, range(length)), 4)


def compare(truth: Frames, masks: Frames) -> tuple[list[str], list[tuple[str, Frames]]]:
    """Cells of a row, and the results by method."""
    video = emptied(truth, masks)
    results = [(name, method(video)) for name, method in METHODS.items()]
    started = time.process_time()
    remaining = PropagatedVideo(video).read_masks(range(len(truth)))
    milliseconds = 1000 * (time.process_time() - started) / len(truth)
    cells = ["  ".join(scores(frames, truth, masks)) for _, frames in results]
    shown = f"{1 - remaining.sum() / masks.sum():.0%}"
    return [f"{masks.mean():.1%}", *cells, warp_error(truth, truth), shown, f"{milliseconds:.0f}"], results


def emptied(truth: Frames, masks: Frames) -> ClipInMemory:
    return ClipInMemory(truth * (masks == 0)[..., None], masks)


def scores(frames: Frames, truth: Frames, masks: Frames) -> list[str]:
    metrics = InpaintingMetrics()
    metrics.update(_batch(frames) / 255, _batch(truth) / 255, torch.from_numpy(masks)[None, :, None])
    values = metrics.compute()
    return [f"{values['hole_psnr']:.2f}", f"{values['ssim']:.4f}", warp_error(frames, truth)]


def warp_error(frames: Frames, truth: Frames) -> str:
    error = WarpError(dis_estimator())
    error.update(frames, truth)
    return f"{1000 * error.compute():.3f}"


def write_strip(path: Path, rows: list[tuple[str, Frames]]) -> None:
    chosen = np.linspace(0, len(rows[0][1]) - 1, STRIP).round().astype(int)
    write_png(path, picture_strip([(caption, frames[chosen]) for caption, frames in rows]))


def _batch(frames: Frames) -> Tensor:
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float()


if __name__ == "__main__":
    main()
