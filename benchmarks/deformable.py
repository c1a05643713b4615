"""Deformable attention beside full attention, and its sampling beside `grid_sample`: `python benchmarks/deformable.py`.

`--quick` leaves out what takes more than seconds. Counts of operations and bytes are exact and the same everywhere (see
lightvid.profiling); they leave out weights and inputs. Times are measured where the script runs: CPU time of one
thread, or the GPU's own clock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.attention.deformable import DeformableAttention
from lightvid.attention.full import FullAttention
from lightvid.ops.deformable_sampling import deformable_sampling
from lightvid.profiling import flops, peak_bytes, saved_bytes

CHANNELS, HEADS, POINTS = 384, 8, 32  # as published
HEIGHT, WIDTH = 32, 32  # tokens of a frame in the first table
QUADRATIC_LIMIT = 11_000  # tokens up to which mixers are timed whose cost grows with the square of the frames
KIB, MIB = 2**10, 2**20

MIXERS: dict[str, Callable[[], nn.Module]] = {
    "deformable, trilinear, K=32": lambda: DeformableAttention(CHANNELS, heads=HEADS, points=POINTS),
    "deformable, per frame, K=6": lambda: DeformableAttention(CHANNELS, heads=HEADS, points=6, mode="per_frame"),
    "full (fused)": lambda: FullAttention(CHANNELS, heads=HEADS),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="at most 4,096 tokens, one repetition")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    console = Console(width=120)
    console.print(scaling_table((1, 2, 4) if quick else (1, 4, 10, 25, 98), repetitions=1 if quick else 2))
    console.print(sampling_table(repetitions=1 if quick else 4))
    if torch.cuda.is_available():
        console.print(cuda_table())


def scaling_table(lengths: Sequence[int], *, repetitions: int) -> Table:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table = _table(
        f"A training step of one mixer by length of the clip: {WIDTH}x{HEIGHT} tokens a frame, C={CHANNELS}, M={HEADS}",
        "mixer",
        "tokens",
        "GFLOP",
        "MFLOP\nper token",
        "saved KiB\nper token",
        "peak KiB\nper token",
        f"{device.upper()} seconds",
        "µs per token",
    )
    for name, make in MIXERS.items():
        for frames in lengths:
            tokens = frames * HEIGHT * WIDTH
            timed = device == "cuda" or name.startswith("deformable, trilinear") or tokens <= QUADRATIC_LIMIT
            seconds = _seconds(*_mixer_step(make, frames, device), repetitions) if timed else None
            table.add_row(name, f"{tokens:,}", *_mixer_counts(make, frames), *_time_cells(seconds, tokens))
        table.add_section()
    return table


def _mixer_counts(make: Callable[[], nn.Module], frames: int) -> list[str]:
    tokens = frames * HEIGHT * WIDTH
    step, inputs = _mixer_step(make, frames, "meta")
    with torch.device("meta"):
        network = make()
    operations = flops(lambda: step(*inputs))
    kept = saved_bytes(lambda: network(*inputs), exclude=[*inputs, *network.parameters()])
    peak = peak_bytes(lambda: step(*inputs))
    return [
        f"{operations / 1e9:,.1f}",
        f"{operations / 1e6 / tokens:.2f}",
        f"{kept / KIB / tokens:.2f}",
        f"{peak / KIB / tokens:.2f}",
    ]


def _mixer_step(
    make: Callable[[], nn.Module], frames: int, device: str
) -> tuple[Callable[[Tensor], None], tuple[Tensor]]:
    with torch.device(device):
        network = make()
        x = torch.randn(1, frames, HEIGHT, WIDTH, CHANNELS, requires_grad=True)
    return lambda x: network(x).sum().backward(), (x,)


def _time_cells(seconds: float | None, tokens: int) -> tuple[str, str]:
    return ("", "") if seconds is None else (f"{seconds:.2f}", f"{seconds / tokens * 1e6:.0f}")


Sampling = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def sampling_table(*, repetitions: int) -> Table:
    table = _table(
        "The sampling alone, float32: T=12, 26x20 tokens, 6240 queries, M=8, D=48, K=16",
        "implementation",
        "forward\nCPU ms",
        "forward and\nbackward CPU ms",
        "saved MiB",
        "peak MiB",
    )
    for name, sample in SAMPLINGS.items():
        inputs = sampling_inputs(device="meta")
        kept = saved_bytes(lambda: sample(*inputs), exclude=inputs)  # noqa: B023 - called at once
        peak = peak_bytes(lambda: sample(*inputs).sum().backward())  # noqa: B023
        inputs = sampling_inputs(device="cpu")
        with torch.no_grad():
            forward = _cpu_seconds(sample, inputs, repetitions)
        both = _cpu_seconds(lambda *tensors: sample(*tensors).sum().backward(), inputs, repetitions)  # noqa: B023
        table.add_row(name, f"{forward * 1e3:.0f}", f"{both * 1e3:.0f}", f"{kept / MIB:.1f}", f"{peak / MIB:.1f}")
    return table


def sampling_inputs(*, device: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    frames, height, width, heads, channels, points = 12, 20, 26, 8, 48, 16
    queries = frames * height * width
    shapes = ((1, queries, 3), (1, queries, heads, points, 3), (1, queries, heads, points))
    with torch.device(device):
        value = torch.randn(1, frames, height, width, heads, channels, dtype=dtype)
        reference, offsets, logits = torch.rand(shapes[0]), 2 * torch.randn(shapes[1]), torch.randn(shapes[2])
    return tuple(tensor.requires_grad_() for tensor in (value, reference, offsets, logits))


def by_grid_sample(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """PyTorch's five-dimensional `grid_sample` and a weighted sum of its samples."""
    grid = (2 * _locations(value, reference, offsets) - 1).transpose(1, 2).flatten(0, 1).unsqueeze(1)
    maps = value.permute(0, 4, 5, 1, 2, 3).flatten(0, 1)
    samples = F.grid_sample(maps, grid.to(maps.dtype), align_corners=False).squeeze(2)
    attention = logits.softmax(-1).transpose(1, 2).flatten(0, 1).unsqueeze(1)
    return (samples * attention).sum(-1).unflatten(0, (len(value), -1)).permute(0, 3, 1, 2)


def by_gathering(value: Tensor, reference: Tensor, offsets: Tensor, logits: Tensor) -> Tensor:
    """Eight gathers and a sum in plain autograd."""
    size = (value.shape[3], value.shape[2], value.shape[1])
    position = [_locations(value, reference, offsets)[..., axis] * size[axis] - 0.5 for axis in range(3)]
    rows = value.flatten(1, 3).transpose(1, 2)  # (B, M, T H W, D)
    clip = torch.arange(value.shape[0], device=value.device)[:, None, None, None]
    head = torch.arange(value.shape[4], device=value.device)[None, None, :, None]
    samples: Tensor | float = 0.0
    for corner in range(8):
        weight, row = torch.ones_like(logits), torch.zeros_like(logits, dtype=torch.long)
        for axis, stride in ((0, 1), (1, size[0]), (2, size[0] * size[1])):
            cell = position[axis].detach().floor() + (corner >> axis & 1)
            exists = (cell >= 0) & (cell < size[axis])
            weight = weight * (1 - (position[axis] - cell).abs()) * exists
            row = row + cell.clamp(0, size[axis] - 1).long() * stride
        samples = samples + weight.unsqueeze(-1) * rows[clip, head, row]
    return (samples * logits.softmax(-1).unsqueeze(-1)).sum(3).to(value.dtype)


def _locations(value: Tensor, reference: Tensor, offsets: Tensor) -> Tensor:
    sizes = (value.shape[3], value.shape[2], value.shape[1])
    return reference[:, :, None, None] + torch.stack(
        [offsets[..., axis] / size for axis, size in enumerate(sizes)], dim=-1
    )


SAMPLINGS: dict[str, Sampling] = {
    "deformable_sampling": deformable_sampling,
    "grid_sample, weighted sum": by_grid_sample,
    "gather of 8 corners": by_gathering,
}


def cuda_table() -> Table:
    table = _table(
        f"The sampling alone on {torch.cuda.get_device_name()}, same size: ms, median of 50",
        "implementation",
        "float32\nforward",
        "float32\nforward and backward",
        "bfloat16\nforward",
        "bfloat16\nforward and backward",
    )
    for name in ("deformable_sampling", "grid_sample, weighted sum"):
        sample, cells = SAMPLINGS[name], []
        for dtype in (torch.float32, torch.bfloat16):
            inputs = sampling_inputs(device="cuda", dtype=dtype)
            with torch.no_grad():
                cells.append(f"{_cuda_milliseconds(sample, inputs):.3f}")
            step = lambda *tensors: sample(*tensors).sum().backward()  # noqa: B023, E731 - called at once
            cells.append(f"{_cuda_milliseconds(step, inputs):.3f}")
        table.add_row(name, *cells)
    return table


def _cuda_milliseconds(function: Callable[..., object], inputs: tuple[Tensor, ...]) -> float:
    for _ in range(5):
        function(*inputs)
    times = []
    for _ in range(50):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        function(*inputs)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[25]


def _seconds(function: Callable[..., object], inputs: tuple[Tensor, ...], repetitions: int) -> float:
    if inputs[0].is_cuda:
        return _cuda_milliseconds(function, inputs) / 1e3
    return _cpu_seconds(function, inputs, repetitions)


def _cpu_seconds(function: Callable[..., object], inputs: tuple[Tensor, ...], repetitions: int) -> float:
    # The process's own time, best of some: on a machine with other work the clock on the wall says little.
    function(*inputs)
    seconds = []
    for _ in range(repetitions):
        start = time.process_time()
        function(*inputs)
        seconds.append(time.process_time() - start)
    return min(seconds)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


if __name__ == "__main__":
    main()
