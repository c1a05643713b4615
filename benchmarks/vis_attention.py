"""Deformable against full attention for video instance segmentation: `python benchmarks/vis_attention.py [--quick]`.

First what a forward pass and a training step cost at 300x533 (10x17 tokens a frame) over the length of the clip: exact
counts on meta tensors (see lightvid.profiling) of the published networks with ResNet-50 and of their transformers, and
measured times where there is a GPU. With `--train`, both train on the sample data for the same number of steps, and
AP stands over steps and over seconds. `--train --quick` takes 40 steps.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightvid.attention import Memory
from lightvid.networks import InstanceSegmenter, deformable_vistr, vistr
from lightvid.profiling import flops, peak_bytes, saved_bytes

HEIGHT, WIDTH = 300, 533
GRID = (10, 17)
CHANNELS = 384
NETWORKS: dict[str, Callable[..., InstanceSegmenter]] = {"full": vistr, "deformable": deformable_vistr}
MIB, GIB = 2**20, 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="clips of up to 8 frames; 40 steps")
    parser.add_argument("--train", action="store_true", help="train both on the sample data")
    parser.add_argument("--steps", type=int, default=None, help="of training; default: the recipe's")
    parser.add_argument("--out", default="runs/benchmark", help="folder of the runs")
    options = parser.parse_args()
    lengths = (4, 8) if options.quick else (4, 8, 16, 36)
    console = Console(width=130)
    console.print(_transformers(lengths))
    console.print(_networks(lengths))
    if torch.cuda.is_available():
        console.print(_times(lengths[-1]))
    if options.train:
        steps = 40 if options.quick and options.steps is None else options.steps
        console.print(_curves(Path(options.out), steps))


def _transformers(lengths: tuple[int, ...]) -> Table:
    table = Table(title="Encoder and decoder alone (6 + 6 layers, 384 channels, 10 instances), one clip, float32")
    for column in ("attention", "frames", "tokens", "GFLOP", "GFLOP a frame", "saved MiB a frame", "step peak GiB"):
        table.add_column(column, justify="right")
    for name, make in NETWORKS.items():
        for frames in lengths:
            with torch.device("meta"):
                network = make(frames=frames, dropout=0.0)
                tokens = torch.rand(1, frames, *GRID, CHANNELS)
            forward = _transformer(network, tokens)
            with torch.no_grad():
                cost = flops(forward) / 1e9
            saved = saved_bytes(forward, exclude=[tokens, *network.parameters()])
            peak = peak_bytes(lambda: forward().sum().backward())  # noqa: B023
            counts = (f"{frames * GRID[0] * GRID[1]}", f"{cost:.1f}", f"{cost / frames:.2f}")
            table.add_row(name, str(frames), *counts, f"{saved / frames / MIB:.1f}", f"{peak / GIB:.2f}")
        table.add_section()
    return table


def _transformer(network: InstanceSegmenter, tokens: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        mixed = network.backbone(tokens)
        positions = network.backbone.positions.encode(mixed)  # type: ignore[union-attr, operator]
        return network.decoder(Memory(mixed, positions)).queries

    return forward


def _networks(lengths: tuple[int, ...]) -> Table:
    table = Table(title=f"Whole networks with ResNet-50, {WIDTH}x{HEIGHT}, 10 instances, one clip: GFLOP")
    for column in ("frames", "stem", "mask head", *(f"{name} transformer" for name in NETWORKS), *NETWORKS):
        table.add_column(column, justify="right")
    for frames in lengths:
        costs = []
        for make in NETWORKS.values():
            with torch.device("meta"), torch.no_grad():
                network = make(frames=frames, dropout=0.0)
                tokens = torch.rand(1, frames, *GRID, CHANNELS)
                costs.append(flops(_transformer(network, tokens)) / 1e9)
        with torch.device("meta"), torch.no_grad():  # the same in both
            clip, queries, boxes = (
                torch.rand(1, frames, *shape) for shape in ((3, HEIGHT, WIDTH), (10, CHANNELS), (10, 4))
            )
            stem = flops(lambda: network.stem(clip)) / 1e9  # noqa: B023
            tokens, features, _ = network.stem(clip)
            masks = flops(lambda: network.mask_head(queries, boxes, tokens, features, None)) / 1e9  # noqa: B023
        numbers = (stem, masks, *costs, *(cost + stem + masks for cost in costs))
        table.add_row(str(frames), *(f"{number:.0f}" for number in numbers))
    return table


def _times(frames: int) -> Table:
    """Seconds and memory on the GPU, in float32 and bfloat16."""
    device = torch.device("cuda")
    table = Table(title=f"{torch.cuda.get_device_name(device)}, T={frames}, {WIDTH}x{HEIGHT}")
    for column in ("attention", "precision", "step ms", "step peak GiB", "inference frames/s"):
        table.add_column(column, justify="right")
    for name, make in NETWORKS.items():
        for dtype in (torch.float32, torch.bfloat16):
            network = make(frames=frames).to(device)
            clip = torch.rand(1, frames, 3, HEIGHT, WIDTH, device=device)

            def step() -> None:
                with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):  # noqa: B023
                    network(clip).masks.float().sum().backward()  # noqa: B023

            def infer() -> None:
                with torch.inference_mode(), torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):  # noqa: B023
                    network(clip)  # noqa: B023

            torch.cuda.reset_peak_memory_stats(device)
            seconds = _seconds(step)
            peak = torch.cuda.max_memory_allocated(device) / GIB
            network.eval()
            rate = frames / _seconds(infer)
            table.add_row(name, str(dtype).removeprefix("torch."), f"{seconds * 1e3:.0f}", f"{peak:.2f}", f"{rate:.1f}")
    return table


def _seconds(call: Callable[[], None]) -> float:
    """The median of five calls after two."""
    durations = []
    for _ in range(7):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        durations.append(time.perf_counter() - start)
    return sorted(durations[2:])[2]


def _curves(out: Path, steps: int | None) -> Table:
    """Train both in turn, each in a process of its own, and read their validations."""
    table = Table(title="Sample data, same steps: AP and AP50 over steps and seconds of training, validation excluded")
    for column in ("attention", "step", "seconds", "AP", "AP50"):
        table.add_column(column, justify="right")
    for name in NETWORKS:
        folder = out / f"{name}-{int(time.time())}"
        command = [sys.executable, "-m", "lightvid", "train", "task=vis", f"backbone={name}", f"run_dir={folder}"]
        if steps is not None:
            command += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={max(1, steps // 4)}"]
        subprocess.run(command, check=True)
        with (folder / "metrics.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        seconds = "0"
        for row in rows[:-1]:  # the last is that of the best checkpoint, measured again
            seconds = row["train/seconds"] or seconds
            if row["val/AP"]:
                values = (f"{float(row[f'val/{metric}']):.3f}" for metric in ("AP", "AP50"))
                table.add_row(name, str(int(row["step"]) + 1), f"{float(seconds):.0f}", *values)
        table.add_section()
    return table


if __name__ == "__main__":
    main()
