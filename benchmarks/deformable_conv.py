"""Memory and time of deformable convolution: `python benchmarks/deformable_conv.py [--rounds 5]`.

The shape is that of E2FGVI's feature alignment, float32: 256 channels of 60x108 in 16 groups, a 3x3 kernel to 128
channels, with masks. Beside it the same formula in plain autograd, whose columns grid_sample makes as a whole. Byte
counts are exact and the same everywhere; they leave out inputs and weights. Times are measured where the script runs,
in turns, and the shortest counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from lightvid.ops.deformable_conv import deformable_conv2d
from lightvid.profiling import flops, peak_bytes, saved_bytes

CHANNELS, HEIGHT, WIDTH, GROUPS, OUTPUTS = 256, 60, 108, 16, 128
MIB = 2**20

Convolution = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways: dict[str, Convolution] = {"grid_sample, plain autograd": by_grid_sample, "lightvid": convolve}
    tensors = [tensor.to(device).requires_grad_() for tensor in inputs()]
    times = [
        {name: (seconds(way, tensors, train=False), seconds(way, tensors, train=True)) for name, way in ways.items()}
        for _ in range(rounds + 1)
    ][1:]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    table = Table(title=f"Deformable convolution, {CHANNELS}x{HEIGHT}x{WIDTH} -> {OUTPUTS}, float32, {where}")
    for column in ("", "GFLOP", "forward ms", "+ backward ms", "forward peak MiB", "saved MiB", "training peak MiB"):
        table.add_column(column, justify="left" if not column else "right")
    for name, way in ways.items():
        forward, training = (1000 * min(time[name][i] for time in times) for i in range(2))
        cost, *memory = counts(way)
        table.add_row(name, cost, f"{forward:.1f}", f"{training:.1f}", *memory)
    Console(width=120).print(table)


def convolve(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    return deformable_conv2d(x, offset, weight, mask=mask, padding=1)


def by_grid_sample(x: Tensor, offset: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """One grid_sample for all groups and taps, the masks, one matrix product."""
    rows, columns = (torch.arange(size, dtype=x.dtype, device=x.device) for size in (HEIGHT, WIDTH))
    taps = torch.arange(9, device=x.device)
    y = offset.view(GROUPS, 9, 2, HEIGHT, WIDTH)[:, :, 0] + (taps // 3 - 1).view(9, 1, 1) + rows[:, None]
    x_ = offset.view(GROUPS, 9, 2, HEIGHT, WIDTH)[:, :, 1] + (taps % 3 - 1).view(9, 1, 1) + columns
    grid = torch.stack((2 * x_ / (WIDTH - 1) - 1, 2 * y / (HEIGHT - 1) - 1), dim=-1).flatten(1, 2)
    sampled = F.grid_sample(x.view(GROUPS, -1, HEIGHT, WIDTH), grid, align_corners=True)
    weighted = sampled.view(GROUPS, -1, 9, HEIGHT * WIDTH) * mask.view(GROUPS, 1, 9, -1)
    return (weight.flatten(1) @ weighted.flatten(0, 1).flatten(0, 1)).view(1, OUTPUTS, HEIGHT, WIDTH)


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, offset, weight, mask."""
    offset = 3 * torch.randn(1, 2 * GROUPS * 9, HEIGHT, WIDTH)
    mask = torch.rand(1, GROUPS * 9, HEIGHT, WIDTH)
    return torch.randn(1, CHANNELS, HEIGHT, WIDTH), offset, torch.randn(OUTPUTS, CHANNELS, 3, 3) / 48, mask


def seconds(way: Convolution, tensors: list[Tensor], *, train: bool) -> float:
    begin = _now(tensors[0])
    with torch.set_grad_enabled(train):
        result = way(*tensors)
        if train:
            torch.autograd.grad(result.sum(), tensors)
    return _now(tensors[0]) - begin


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def counts(way: Convolution) -> tuple[str, ...]:
    """GFLOP and peak of the forward pass, bytes kept for the backward pass, peak of both, all without data."""
    tensors = [tensor.to("meta").requires_grad_() for tensor in inputs()]

    def training() -> None:
        torch.autograd.grad(way(*tensors).sum(), tensors)

    def forward() -> None:
        with torch.no_grad():
            way(*tensors)

    numbers = (peak_bytes(forward), saved_bytes(lambda: way(*tensors), exclude=tensors), peak_bytes(training))
    return f"{flops(forward) / 1e9:.2f}", *(f"{number / MIB:.1f}" for number in numbers)


if __name__ == "__main__":
    main()
