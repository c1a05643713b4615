"""Memory, cost and time of STTN under each residual scheme: `python benchmarks/memory.py [--quick]`.

Byte and FLOP counts are exact and the same everywhere (see lightvid.profiling); they leave out weights and inputs, and
what a device's allocator adds. Times and device peaks are measured where the script runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.backbone.transformer import Residual
from lightvid.networks import InpaintingGenerator, fast_sttn, sttn
from lightvid.profiling import flops, peak_bytes, saved_bytes

HEIGHT, WIDTH, FRAMES = 240, 432, 5
MIB, GIB = 2**20, 2**30

NETWORKS: dict[str, Callable[[], InpaintingGenerator]] = {
    "STTN": sttn,
    "STTN, checkpoint": lambda: sttn(residual="checkpoint"),
    "STTN, reversible": lambda: sttn(residual="reversible"),
    "STTN, reversible, ends recomputed": lambda: sttn(residual="reversible", recompute_ends=True),
    "FastSTTN": fast_sttn,
    "FastSTTN, ends recomputed": lambda: fast_sttn(recompute_ends=True),
}

# Escher et al., SIBGRAPI 2021, Table I: a whole training step with the discriminator, on a T4 with 16 GB.
PUBLISHED = [
    ("2", "9.7 GB", "2.8 s", "5.3 GB", "2.0 s"),
    ("4", "out of memory", "", "12.1 GB", "3.7 s"),
    ("8", "out of memory", "", "13.7 GB", "7.5 s"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batch 1 only, and nothing that takes more than seconds")
    quick = parser.parse_args().quick
    console = Console(width=120)
    batches = (1,) if quick else (1, 2, 8)
    console.print(training_table(batches))
    console.print(depth_table((2, 8, 32) if quick else (1, 2, 4, 8, 16, 32)))
    console.print(inference_table((5, 13) if quick else (5, 13, 60, 123)))
    if torch.cuda.is_available():
        console.print(cuda_table((2,) if quick else (2, 4, 8)))
        console.print(published_table())
    else:
        console.print(cpu_table(("STTN", "STTN, reversible") if quick else tuple(NETWORKS)))


def training_table(batches: Sequence[int]) -> Table:
    table = _table(
        f"Training, {WIDTH}x{HEIGHT}, T={FRAMES}, float32: exact counts, MiB (forward and backward, no discriminator)",
        "network",
        "batch",
        "parameters",
        "GFLOP",
        "stack\nsaved",
        "stack\npeak",
        "generator\nsaved",
        "generator\npeak",
    )
    for name, make in NETWORKS.items():
        for batch in batches:
            table.add_row(name, str(batch), *_training_counts(make, batch))
    return table


def _training_counts(make: Callable[[], InpaintingGenerator], batch: int) -> list[str]:
    with torch.device("meta"):
        network, (video, masks) = make(), _clip(batch, FRAMES)
        tokens = torch.empty(batch, FRAMES, HEIGHT // 4, WIDTH // 4, network.backbone.channels)
    parameters = list(network.parameters())
    counts = [f"{sum(p.numel() for p in parameters) / 1e6:.2f} M"]
    counts.append(f"{flops(lambda: network(video, masks).frames.sum().backward()) / 1e9:.0f}")
    for call, inputs in (
        (lambda: network.backbone(tokens), (tokens,)),
        (lambda: network(video, masks).frames, (video, masks)),
    ):
        network.zero_grad()
        counts.append(f"{saved_bytes(call, exclude=[*parameters, *inputs]) / MIB:.1f}")
        counts.append(f"{peak_bytes(lambda call=call: call().sum().backward()) / MIB:.1f}")  # type: ignore[misc]
    return counts


def depth_table(depths: Sequence[int]) -> Table:
    table = _table(
        f"Step peak MiB (saved MiB) of the stack by depth, {WIDTH}x{HEIGHT}, T={FRAMES}, batch 1: exact counts",
        "blocks",
        *get_args(Residual),
    )
    for blocks in depths:
        table.add_row(str(blocks), *(_depth_counts(scheme, blocks) for scheme in get_args(Residual)))
    return table


def _depth_counts(scheme: Residual, blocks: int) -> str:
    with torch.device("meta"):
        network = SpatioTemporalTransformer(256, blocks=blocks, residual=scheme)
        tokens = torch.empty(1, FRAMES, HEIGHT // 4, WIDTH // 4, 256)
    saved = saved_bytes(lambda: network(tokens), exclude=[tokens, *network.parameters()])
    peak = peak_bytes(lambda: network(tokens).sum().backward())
    return f"{peak / MIB:.0f} ({saved / MIB:.0f})"


def inference_table(lengths: Sequence[int]) -> Table:
    table = _table(
        f"Inference peak GiB, {WIDTH}x{HEIGHT}, batch 1: exact counts",
        "network",
        *(f"T={length}" for length in lengths),
    )
    for name in ("STTN", "STTN, reversible", "FastSTTN"):
        with torch.device("meta"):
            network = NETWORKS[name]()
        for dtype in (torch.float32, torch.bfloat16):
            peaks = [_inference_peak(network.to(dtype), length, dtype) for length in lengths]
            table.add_row(f"{name}, {_short(dtype)}", *(f"{peak / GIB:.2f}" for peak in peaks))
    return table


def _inference_peak(network: nn.Module, length: int, dtype: torch.dtype) -> int:
    with torch.device("meta"), torch.no_grad():
        video, masks = (tensor.to(dtype) for tensor in _clip(1, length))
        return peak_bytes(lambda: network(video, masks))


def cuda_table(batches: Sequence[int]) -> Table:
    table = _table(
        f"Training step of the generator, measured on {torch.cuda.get_device_name()}, T={FRAMES}",
        "network",
        "batch",
        "float32 s",
        "float32 GiB",
        "bf16 s",
        "bf16 GiB",
    )
    for name, make in NETWORKS.items():
        for batch in batches:
            cells = [cell for dtype in (torch.float32, torch.bfloat16) for cell in _cuda_step(make, batch, dtype)]
            table.add_row(name, str(batch), *cells)
    return table


def _cuda_step(make: Callable[[], InpaintingGenerator], batch: int, dtype: torch.dtype) -> tuple[str, str]:
    """Seconds of a step, median of 5 after 2, and the allocator's peak with weights, gradients and Adam's state."""
    torch.cuda.empty_cache()
    seconds = []
    try:
        network = make().cuda()
        optimizer = torch.optim.Adam(network.parameters())
        video, masks = (tensor.cuda() for tensor in _clip(batch, FRAMES))
        for _ in range(7):
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.synchronize()
            start = time.perf_counter()
            _step(network, optimizer, video, masks, dtype)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
    except torch.OutOfMemoryError:
        return "", "out of memory"
    return f"{sorted(seconds[2:])[2]:.3f}", f"{torch.cuda.max_memory_allocated() / GIB:.2f}"


def published_table() -> Table:
    table = _table(
        "Published: Escher et al., SIBGRAPI 2021, Table I (T4, whole step with the discriminator)",
        "batch",
        "STTN memory",
        "STTN time",
        "FastSTTN memory",
        "FastSTTN time",
    )
    for row in PUBLISHED:
        table.add_row(*row)
    return table


def cpu_table(names: Sequence[str]) -> Table:
    height, width, frames = 120, 216, 3
    table = _table(
        f"Training step measured on this CPU, {width}x{height}, T={frames}, batch 1, one thread",
        "network",
        "CPU seconds (best of 3)",
        "process peak MiB beyond\nthe start (ru_maxrss)",
    )
    context = multiprocessing.get_context("spawn")  # a fresh process each: its high-water mark only rises
    for name in names:
        with context.Pool(1) as pool:
            seconds, peak = pool.apply(_cpu_step, (name, height, width, frames))
        table.add_row(name, f"{seconds:.2f}", f"{peak:.0f}")
    return table


def _cpu_step(name: str, height: int, width: int, frames: int) -> tuple[float, float]:
    # One thread and the process's own time: on a machine with other work, threads that wait for each other would count.
    torch.set_num_threads(1)
    network = NETWORKS[name]()
    optimizer = torch.optim.Adam(network.parameters())
    video, masks = _clip(1, frames, height, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        start = time.process_time()
        _step(network, optimizer, video, masks, torch.float32)
        seconds.append(time.process_time() - start)
    return min(seconds), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, video: Tensor, masks: Tensor, dtype: torch.dtype
) -> None:
    with torch.autocast(video.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = (network(video * (1 - masks), masks).frames.float() - video).abs().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _clip(batch: int, frames: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    video = torch.rand(batch, frames, 3, height, width) * 2 - 1
    masks = torch.zeros(batch, frames, 1, height, width)
    masks[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    return video, masks


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
