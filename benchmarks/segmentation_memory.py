"""Peak memory and speed of segmenting a short and a long video, each in a process of its own.

    python benchmarks/segmentation_memory.py [--lengths 60 300] [--frames 12]

The network is Deformable VisTR without training, whose ragged masks have longer run lengths than those of objects.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

HEIGHT, WIDTH = 180, 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[60, 300], help="frames of the videos")
    parser.add_argument("--frames", type=int, default=12, help="of a window")
    options = parser.parse_args()
    table = Table(title=f"Segmenting {WIDTH}x{HEIGHT} in windows of {options.frames} frames", title_justify="left")
    for column in ("frames", "process peak MiB", "beyond the network, MiB", "run lengths MiB", "frames/s"):
        table.add_column(column, justify="right")
    context = multiprocessing.get_context("spawn")  # a fresh process each: its high-water mark only rises
    peaks = []
    for length in options.lengths:
        with context.Pool(1) as pool:
            peak, before, kept, seconds = pool.apply(_segment, (length, options.frames))
        peaks.append(peak)
        table.add_row(str(length), f"{peak:.0f}", f"{peak - before:.0f}", f"{kept:.1f}", f"{length / seconds:.2f}")
    Console().print(table)
    if len(peaks) > 1:
        print(f"the last needs {100 * (peaks[-1] / peaks[0] - 1):+.1f} % of the first's peak")


def _segment(length: int, frames: int) -> tuple[float, float, float, float]:
    """Peak MiB of the process, and before the video; MiB of text that is kept; seconds."""
    from lightvid.networks import deformable_vistr
    from lightvid.segmentation import VideoSegmenter

    torch.manual_seed(0)
    network = deformable_vistr(frames=frames).eval()
    segmenter = VideoSegmenter(
        network, frames=frames, classification="softmax", category_ids=range(1, 41), shortest=HEIGHT
    )
    before, start = _peak(), time.perf_counter()
    tracks = segmenter.segment(_read, length, HEIGHT, WIDTH)
    seconds = time.perf_counter() - start
    kept = sum(len(mask["counts"]) for track in tracks for mask in track["segmentations"] if mask is not None)
    return _peak(), before, kept / 2**20, seconds


def _read(numbers: Sequence[int]) -> NDArray[np.uint8]:
    """A pattern that moves by a pixel a frame."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin((x + t) / 9) * np.cos(y / (7 + np.arange(3)[:, None, None])) for t in numbers]
    return np.moveaxis(np.stack(waves) * 127 + 128, 1, -1).astype(np.uint8)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
