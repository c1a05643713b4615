"""PSAL beside full attention: memory, search, reconstruction: `python benchmarks/psal.py [--quick] [--root DAVIS]`.

The experiments are those of Cherel et al., Pattern Recognition Letters 2024 (4.1 and 4.2), and the same on video. Bytes
are exact counts, the same everywhere (see lightvid.profiling). All else is measured where the script runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from lightvid.datamodules import make_sample_data
from lightvid.ops.attention import fused_attention
from lightvid.ops.patch_attention import patch_aggregation, patch_readout
from lightvid.ops.patch_match import patch_match
from lightvid.ops.patches import pad_volume
from lightvid.profiling import peak_bytes
from lightvid.video import Video, open_video

PATCH, CHANNELS, GB = 7, 16, 1e9
APART = 10  # frames between a frame and the one it is reconstructed from, as in the paper
STRIDES = {64: 1, 128: 2, 256: 5, 512: 10}  # of the keys of full attention, as in the paper
TEMPERATURES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
QUERIES_AT_ONCE = 1024

# Table 1 at 64, 128, 256 and 512 pixels, Tables 2 and 3.
PUBLISHED_GB = {
    "full": (0.30, 4.98, 15.26, 250.04),
    "PSAL-3": (0.01, 0.01, 0.04, 0.18),
    "PSAL-3 aggregated": (0.05, 0.19, 0.74, 2.95),
}
PUBLISHED_ERROR = {
    "full": {64: 0.0048, 128: 0.0038, 256: 0.0031, 512: 0.0022},
    "PSAL-3": {64: 0.0048, 128: 0.0029, 256: 0.0017, 512: 0.0011},
    "PSAL-3 aggregated": {512: 0.0008},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 and 128 pixels, one pair of frames per clip")
    parser.add_argument("--root", type=Path, help="a folder of DAVIS; by default clips that lightvid draws")
    arguments = parser.parse_args()
    root = arguments.root or make_sample_data() / "davis"
    source = "DAVIS, 3 clips" if arguments.root else "drawn sample clips of 128x224 pixels"
    videos = [open_video(path) for path in sorted((root / "JPEGImages" / "480p").iterdir())[:3]]
    sizes, pairs = ((64, 128), 1) if arguments.quick else ((64, 128, 256, 512), 2)
    console = Console(width=120)
    for training in (False, True):
        console.print(memory_table(sizes, training=training))
    console.print(seconds_table(sizes[:3]))
    console.print(search_table(videos, source, (64, 128)))
    console.print(reconstruction_table(videos, source, sizes, pairs))
    console.print(video_table(videos, source, 64 if arguments.quick else 128))


def full_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax over all patches, with the matrix in memory."""
    scores = unfold(query) @ unfold(key).mT
    return scores.softmax(-1) @ value.flatten(1, 3)


def sdpa(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's fused attention between unfolded patches; its kernels want values as wide as these."""
    value = F.pad(value.flatten(1, 3), (0, (PATCH**2 - 1) * CHANNELS))
    return fused_attention(unfold(query).unsqueeze(1), unfold(key).unsqueeze(1), value.unsqueeze(1))


def psal(query: Tensor, key: Tensor, value: Tensor, *, aggregate: bool = False) -> Tensor:
    """Search and readout, from the features to the result."""
    index = patch_match(query, key, patch=PATCH).index
    attend = patch_aggregation if aggregate else patch_readout
    return attend(query, key, value, index, patch=PATCH)


METHODS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "full": full_attention,
    "SDPA, unfolded patches": sdpa,
    "PSAL-3": psal,
    "PSAL-3 aggregated": lambda query, key, value: psal(query, key, value, aggregate=True),
}


def unfold(volume: Tensor) -> Tensor:
    """All patches of one frame per clip, `(B, 1, H, W, C)` to `(B, H * W, p * p * C)`."""
    maps = pad_volume(volume, (1, PATCH, PATCH))[:, 0].permute(0, 3, 1, 2)
    return F.unfold(maps, PATCH).mT


def memory_table(sizes: Iterable[int], *, training: bool) -> Table:
    what = "a forward and backward pass" if training else "a forward pass"
    table = _table(
        f"Peak GB of {what}, patch {PATCH}x{PATCH}, {CHANNELS} channels, float32: exact counts (published in brackets)",
        "attention",
        *(f"{size}x{size}" for size in sizes),
    )
    for name, attend in METHODS.items():
        cells = []
        for place, size in enumerate(sizes):
            inputs = _inputs(size, "meta", training)
            if training:
                peak = peak_bytes(lambda: attend(*inputs).sum().backward())  # noqa: B023 - called at once
            else:
                peak = peak_bytes(lambda: attend(*inputs))  # noqa: B023
            published = f" ({PUBLISHED_GB[name][place]})" if name in PUBLISHED_GB else ""
            cells.append(f"{peak / GB:.3f}{published}")
        table.add_row(name, *cells)
    return table


def seconds_table(sizes: Iterable[int]) -> Table:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    where = torch.cuda.get_device_name() if device == "cuda" else f"this CPU, {torch.get_num_threads()} threads"
    table = _table(
        f"Seconds of a forward pass, the same sizes, measured on {where}",
        "attention",
        *(f"{size}x{size}" for size in sizes),
    )
    for name, attend in METHODS.items():
        feasible = [size for size in sizes if name.startswith("PSAL") or size <= 128]
        cells = []
        for size in feasible:
            inputs = _inputs(size, device, False)
            seconds = min(_seconds(attend, inputs, device) for _ in range(2 if size < 256 else 1))
            cells.append(f"{seconds:.2f}")
        table.add_row(name, *cells)
    return table


def _inputs(size: int, device: str, training: bool) -> list[Tensor]:
    return [torch.rand(1, 1, size, size, CHANNELS, device=device, requires_grad=training) for _ in range(3)]


def _seconds(attend: Callable[..., Tensor], inputs: list[Tensor], device: str) -> float:
    start = time.perf_counter()
    attend(*inputs)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def search_table(videos: list[Video], source: str, sizes: Iterable[int]) -> Table:
    iterations = (1, 2, 3, 5, 10)
    table = _table(
        f"Search of RGB patches {PATCH}x{PATCH}, K=3: recall of the nearest key, and mean cost over that of exact "
        f"neighbours ({source})",
        "size",
        "clip",
        *(f"{count} it." for count in iterations),
    )
    for size in sizes:
        for video in videos:
            query, key = read(video, (0, APART // 2), (size, size)).split(1)
            best, nearest = exact_neighbours(query, key)
            cells = []
            for count in iterations:
                field = patch_match(query[None], key[None], patch=PATCH, iterations=count)
                recall = (field.index[0, 0, ..., 0].flatten() == nearest).float().mean()
                cells.append(f"{recall:.2f}  {field.cost.mean() / best.mean():.3f}")
            table.add_row(f"{size}x{size}", video.name, *cells)
    return table


def exact_neighbours(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Costs `(n, 3)` of the three nearest keys of every query, and the nearest one `(n,)`."""
    found = [cost.topk(3, largest=False) for cost in exact_costs(unfold(query[None])[0], unfold(key[None])[0])]
    return torch.cat([part.values for part in found]), torch.cat([part.indices[:, 0] for part in found])


def exact_costs(queries: Tensor, keys: Tensor) -> Iterator[Tensor]:
    """The costs between all patches, some queries at a time."""
    for part in queries.split(QUERIES_AT_ONCE):
        yield torch.cdist(part, keys).square_().div_(keys.shape[1])


def reconstruction_table(videos: list[Video], source: str, sizes: Iterable[int], pairs: int) -> Table:
    table = _table(
        f"Reconstruction of a frame from the patches of another one {APART} frames later: mean squared error of RGB in "
        f"[0, 1] (published in brackets; {source}, resized to squares: the largest are enlarged). Each at its best "
        f"temperature of {', '.join(f'{temperature:g}' for temperature in TEMPERATURES)}",
        "size",
        "full, stride",
        "PSAL-1",
        "PSAL-1 aggregated",
        "PSAL-3",
        "PSAL-3 aggregated",
    )
    for size in sizes:
        errors = [
            torch.cat([full_errors(query, key, STRIDES[size])[None], psal_errors(query, key)])
            for query, key in _pairs(videos, size, pairs)
        ]
        cells = []
        for name, by_temperature in zip(("full", *READOUTS), torch.stack(errors).mean(0), strict=True):
            published = PUBLISHED_ERROR.get(name, {}).get(size)
            cells.append(f"{_best(by_temperature)}" + (f"\n({published})" if published else ""))
        cells[0] = f"stride {STRIDES[size]}: {cells[0]}"
        table.add_row(f"{size}x{size}", *cells)
    return table


READOUTS = {
    "PSAL-1": (patch_readout, 1),
    "PSAL-1 aggregated": (patch_aggregation, 1),
    "PSAL-3": (patch_readout, 3),
    "PSAL-3 aggregated": (patch_aggregation, 3),
}


def _pairs(videos: list[Video], size: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    for video in videos:
        for start in range(0, len(video) - APART, APART)[:count]:
            query, key = read(video, (start, start + APART), (size, size)).split(1)
            yield query, key


def full_errors(query: Tensor, key: Tensor, stride: int) -> Tensor:
    """Errors of exact l2 attention to every `stride`-th key of rows and columns, one per temperature."""
    keys = unfold(key[None])[0].view(*key.shape[1:3], -1)[::stride, ::stride].flatten(0, 1)
    values = key[0, ::stride, ::stride].flatten(0, 1)
    errors = torch.zeros(len(TEMPERATURES))
    parts = zip(exact_costs(unfold(query[None])[0], keys), query.flatten(0, 2).split(QUERIES_AT_ONCE), strict=True)
    for cost, target in parts:
        for place, temperature in enumerate(TEMPERATURES):
            errors[place] += ((-cost / temperature).softmax(-1) @ values - target).square().sum()
    return errors / query.numel()


def psal_errors(query: Tensor, keys: Tensor) -> Tensor:
    """Errors of reconstructing frames `(T, H, W, 3)` from keys `(T', H, W, 3)`, one row per readout.

    All of them read the three neighbours of one search, or the best of these.
    """
    index = patch_match(query[None], keys[None], patch=PATCH).index
    inputs = (query[None], keys[None], keys[None])
    errors = []
    for attend, count in READOUTS.values():
        for temperature in TEMPERATURES:
            result = attend(*inputs, index[..., :count], patch=PATCH, temperature=temperature)
            errors.append((result - query).square().mean())
    return torch.stack(errors).view(len(READOUTS), -1)


def video_table(videos: list[Video], source: str, size: int) -> Table:
    table = _table(
        f"Reconstruction of the middle one of at most 41 frames from one and from all, {size}x{size}: mean squared "
        f"error of RGB in [0, 1], temperatures as above ({source})",
        "clip",
        "readout",
        f"one frame,\n{APART} later",
        f"all frames at\nleast {APART} away",
        "all other frames",
    )
    for video in videos:
        middle = min(20, len(video) // 2)
        others = [frame for frame in range(min(41, len(video))) if frame != middle]
        far = [frame for frame in others if abs(frame - middle) >= APART]
        query = read(video, (middle,), (size, size))
        columns = [psal_errors(query, read(video, keys, (size, size))) for keys in ([middle + APART], far, others)]
        for row, name in enumerate(READOUTS):
            table.add_row(video.name, name, *(_best(errors[row]) for errors in columns))
    return table


def read(video: Video, frames: Iterable[int], size: tuple[int, int]) -> Tensor:
    """Frames `(T, H, W, 3)` in [0, 1], resized."""
    pictures = []
    for picture in video.read(list(frames)):
        shrinks = size[0] < picture.shape[0]
        pictures.append(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC))
    return torch.from_numpy(np.stack(pictures)).float() / 255


def _best(errors: Tensor) -> str:
    place = int(errors.argmin())
    return f"{errors[place]:.5f} at {TEMPERATURES[place]:g}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    return table


if __name__ == "__main__":
    main()
