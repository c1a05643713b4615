"""Deformable against full attention for video instance segmentation: `python benchmarks/vis_attention.py [--quick]`.

First what a forward pass and a training step cost at 300x533 (10x17 tokens a frame) over the length of the clip: exact
counts on meta tensors (see lightvid.profiling) of the published networks with ResNet-50 and of their transformers, and
measured times where there is a GPU. With `--train`, both train on the sample data for the same number of steps, and
AP stands over steps and over seconds. `--train --quick` takes 40 steps.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from lightvid.annotations import InstanceTargets
from lightvid.attention import Memory
from lightvid.losses import VisTRLoss
from lightvid.networks import InstanceSegmenter, deformable_vistr, vistr
from lightvid.profiling import flops, peak_bytes, saved_bytes

HEIGHT, WIDTH = 300, 533
GRID = (10, 17)
CHANNELS = 384
TRACKS = 10
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
    """Seconds and memory on the GPU, in float32 and bfloat16; a step is forward, VisTR's loss, backward and AdamW."""
    device = torch.device("cuda")
    table = Table(title=f"{torch.cuda.get_device_name(device)}, T={frames}, {WIDTH}x{HEIGHT}")
    for column in ("attention", "precision", "step ms", "step peak GiB", "inference frames/s"):
        table.add_column(column, justify="right")
    for name, make in NETWORKS.items():
        for dtype in (torch.float32, torch.bfloat16):
            network = make(frames=frames).to(device)
            clip = torch.rand(1, frames, 3, HEIGHT, WIDTH, device=device)

            def infer() -> None:
                with torch.inference_mode(), torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):  # noqa: B023
                    network(clip)  # noqa: B023

            torch.cuda.reset_peak_memory_stats(device)
            seconds = _seconds(_training_step(network, clip, dtype))
            peak = torch.cuda.max_memory_allocated(device) / GIB
            network.eval()
            rate = frames / _seconds(infer)
            table.add_row(name, str(dtype).removeprefix("torch."), f"{seconds * 1e3:.0f}", f"{peak:.2f}", f"{rate:.1f}")
    return table


def _training_step(network: InstanceSegmenter, clip: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    """A step of AdamW with VisTR's loss on a clip `(1, T, 3, H, W)` of ten random tracks."""
    device, (frames, height, width) = clip.device, (clip.shape[1], *clip.shape[3:])
    size = 0.1 + 0.3 * torch.rand(TRACKS, frames, 2, device=device)
    boxes = torch.cat([size / 2 + (1 - size) * torch.rand_like(size), size], -1)
    columns, rows = torch.arange(width, device=device) / width, torch.arange(height, device=device) / height
    across = (columns - boxes[..., :1]).abs() < boxes[..., 2:3] / 2
    down = (rows - boxes[..., 1:2]).abs() < boxes[..., 3:] / 2
    masks = down.unsqueeze(-1) & across.unsqueeze(-2)
    classes = torch.randint(network.decoder.classes or 1, (TRACKS,), device=device)
    targets = [InstanceTargets(classes, boxes, torch.ones_like(masks[..., 0, 0]), masks)]
    loss, optimizer = VisTRLoss(), torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            output = network(clip)
        loss.total(loss(output, targets)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


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
    """Train both at the same time, each with half of the cores, and read their validations."""
    threads = max(1, (os.cpu_count() or 1) // len(NETWORKS))
    title = (
        f"Sample data, same steps, {threads} thread(s) each: AP over steps and seconds of training without validation"
    )
    table = Table(title=title)
    for column in ("attention", "step", "seconds", "AP", "AP50"):
        table.add_column(column, justify="right")
    runs = {}
    for name in NETWORKS:
        folder = out / f"{name}-{int(time.time())}"
        command = [sys.executable, "-m", "lightvid", "train", "task=vis", f"backbone={name}", f"run_dir={folder}"]
        if steps is not None:
            command += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={max(1, steps // 4)}"]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        runs[name] = (folder, subprocess.Popen([*command, "callbacks.progress=null"], env=environment))
    for name, (folder, process) in runs.items():
        if process.wait():
            sys.exit(f"the run in {folder} failed")
        for step, seconds, *scores in _validations(folder / "metrics.csv"):
            table.add_row(name, str(step), f"{seconds:.0f}", *(f"{score:.3f}" for score in scores))
        table.add_section()
    return table


def _validations(file: Path) -> Iterator[tuple[int, float, float, float]]:
    """Step, seconds of training, AP and AP50 of every validation during training."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    seconds, seen = 0.0, set[int]()
    for row in rows:
        seconds = float(row["train/seconds"] or seconds)
        step = int(row["step"]) + 1
        if row["val/AP"] and not {step, step - 1} & seen:  # at the end the best checkpoint is measured again
            seen.add(step)
            yield step, seconds, float(row["val/AP"]), float(row["val/AP50"])


if __name__ == "__main__":
    main()
