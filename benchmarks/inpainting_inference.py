"""Whole videos through inpainting networks: the published procedure and the default one, speed and memory.

    python benchmarks/inpainting_inference.py [--root DAVIS] [--networks sttn e2fgvi] [--frames 40] [--quick]
    python benchmarks/inpainting_inference.py --device cuda

The weights are random: they cost what trained ones do. Both procedures restore the same frames in one process, in
turns. "plain" is the published procedure written down over a whole clip in memory. Bytes are those of tensors, counted
exactly (see lightvid.profiling), at one window in the middle of a video; frames on the CPU are not among them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from lightvid.datamodules import make_sample_data
from lightvid.datamodules.masks import dilate
from lightvid.inpainting.network_restorer import NetworkRestorer
from lightvid.inpainting.published import PublishedRestorer
from lightvid.inpainting.video import ClipInMemory, Frames, Restorer
from lightvid.networks import InpaintingGenerator, dstt, e2fgvi, fuseformer, sttn
from lightvid.profiling import peak_bytes
from lightvid.video import open_video

NETWORKS: dict[str, Callable[[], InpaintingGenerator]] = {
    "sttn": sttn,
    "dstt": dstt,
    "fuseformer": fuseformer,
    "e2fgvi": e2fgvi,
}
SIZE = 240, 432
SMALL = 120, 216  # where bytes are counted
LENGTHS = 40, 80, 320  # of the videos in which they are
CHECKED = 12  # frames that are compared with the plain procedure
CUDA_SIZES = (240, 432), (480, 864), (720, 1296)
MIB, GIB = 2**20, 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="a folder of DAVIS; by default clips that lightvid draws")
    parser.add_argument("--clip", help="of --root; bmx-trees if it has it, else the first")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="16 frames and DSTT alone; on a GPU the smallest size")
    options = parser.parse_args()
    if options.quick:
        options.networks, options.frames = ["dstt"], 16
    clip = read_clip(options.root or make_sample_data() / "davis", options.clip, options.frames)
    console = Console(width=120)
    if options.device == "cuda":
        for size in CUDA_SIZES[:1] if options.quick else CUDA_SIZES:
            console.print(cuda_table(clip, options.networks, size))
        return
    console.print(speed_table(clip, options.networks))
    console.print(memory_table(clip, options.networks))


def read_clip(root: Path, name: str | None, count: int) -> ClipInMemory:
    """The first frames of a clip at 432x240, with the annotated objects as holes, 4 pixels larger."""
    names = sorted(path.name for path in (root / "JPEGImages" / "480p").iterdir())
    name = name or ("bmx-trees" if "bmx-trees" in names else names[0])
    video, annotations = (open_video(root / kind / "480p" / name) for kind in ("JPEGImages", "Annotations"))
    indices = range(min(count, len(video)))
    frames, masks = video.read(indices), annotations.read_masks(indices)
    clip = ClipInMemory(frames, (masks > 0).astype(np.uint8))
    return ClipInMemory(resized(clip, SIZE).frames, dilate(resized(clip, SIZE).masks, 4))


def resized(clip: ClipInMemory, size: tuple[int, int]) -> ClipInMemory:
    """The clip at another size, masks by their nearest pixels."""
    frames = [cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA) for frame in clip.frames]
    masks = [cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST) for mask in clip.masks]
    return ClipInMemory(np.stack(frames), np.stack(masks))


def random_network(name: str) -> InpaintingGenerator:
    """A network whose predictions have the contrast of pictures; the published start would predict grey."""
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
    return network


def speed_table(clip: ClipInMemory, names: Sequence[str]) -> Table:
    """Seconds of both procedures, and whether the published one is as published."""
    table = _table(
        f"{len(clip)} frames, {SIZE[1]}x{SIZE[0]}, float32, {torch.get_num_threads()} CPU threads",
        "network",
        "published\nCPU s",
        "default\nCPU s",
        "speed-up",
        "published - plain\nat most, grey levels",
    )
    for name in names:
        network = random_network(name)
        published, default = in_turns(clip, PublishedRestorer(network), NetworkRestorer(network))
        part = ClipInMemory(clip.frames[:CHECKED], clip.masks[:CHECKED])
        apart = np.abs(plain(network, part).astype(int) - np.stack(list(PublishedRestorer(network).restore(part))))
        speed_up = published.seconds / default.seconds
        seconds = f"{published.seconds:.1f}", f"{default.seconds:.1f}"
        table.add_row(name, *seconds, f"{speed_up:.2f}", str(apart.max()))
    return table


@dataclass
class Timed:
    """A restoration that goes on frame by frame, and the CPU time it has taken."""

    frames: Iterator[Frames]
    seconds: float = 0.0


def in_turns(clip: ClipInMemory, *restorers: Restorer) -> list[Timed]:
    """Restore a clip in several ways, a frame of each in turn; CPU time, since other work may run."""
    runs = [Timed(restorer.restore(clip)) for restorer in restorers]
    for _ in range(len(clip)):
        for run in runs:
            start = time.process_time()
            next(run.frames)
            run.seconds += time.process_time() - start
    return runs


@torch.no_grad()
def plain(network: InpaintingGenerator, clip: ClipInMemory) -> Frames:
    """The published procedure with its published numbers, all frames in memory."""
    length = len(clip)
    video = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).unsqueeze(0).float() / 255 * 2 - 1
    holes = torch.from_numpy(clip.masks).unsqueeze(1).unsqueeze(0).float()
    blended: dict[int, NDArray[np.float32]] = {}
    for centre in range(0, length, 5):
        local = list(range(max(0, centre - 5), min(length, centre + 6)))
        seen = local + [index for index in range(0, length, 10) if index not in local]
        masked = video[:, seen] * (1 - holes[:, seen])
        predicted = network(masked, holes[:, seen], local_frames=len(local)).frames[0, : len(local)]
        images = ((predicted + 1) / 2 * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for index, image in zip(local, images, strict=True):
            hole = clip.masks[index][..., None]
            filled = (image * hole + clip.frames[index] * (1 - hole)).astype(np.float32)
            blended[index] = 0.5 * blended[index] + 0.5 * filled if index in blended else filled
    return np.stack([blended[index].astype(np.uint8) for index in range(length)])


@dataclass
class Repeated:
    """A `MaskedVideo` of any length: a clip there and back, again and again."""

    clip: ClipInMemory
    length: int

    def __len__(self) -> int:
        return self.length

    def size(self) -> tuple[int, int]:
        """See `MaskedVideo.size`."""
        return self.clip.size()

    def read(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read`."""
        return self.clip.read([self._place(index) for index in indices])

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read_masks`."""
        return self.clip.read_masks([self._place(index) for index in indices])

    def _place(self, index: int) -> int:
        last = len(self.clip) - 1
        return last - abs(last - index % max(1, 2 * last))


def memory_table(clip: ClipInMemory, names: Sequence[str]) -> Table:
    """Most bytes of tensors at once, by the length of the video."""
    columns = [f"{kind}\n{length} frames" for kind in ("published", "default") for length in LENGTHS]
    table = _table(f"MiB of tensors besides weights, {SMALL[1]}x{SMALL[0]}, float32", "network", *columns)
    small = resized(clip, SMALL)
    for name in names:
        network = random_network(name)
        restorers = PublishedRestorer(network), NetworkRestorer(network)
        counts = [_window_bytes(restorer, small, length) for restorer in restorers for length in LENGTHS]
        table.add_row(name, *(f"{count / MIB:.0f}" for count in counts))
    return table


def _window_bytes(restorer: Restorer, clip: ClipInMemory, length: int) -> int:
    video = Repeated(clip, length)
    return peak_bytes(lambda: next(restorer.restore(video, start=length // 2)))


def cuda_table(clip: ClipInMemory, names: Sequence[str], size: tuple[int, int]) -> Table:
    """Frames per second and peak memory on a GPU, after one run to warm up."""
    columns = [f"{kind}\n{precision}" for kind in ("eager", "compiled") for precision in ("fp32", "bf16")]
    table = _table(
        f"frames/s (GiB), {len(clip)} frames, {size[1]}x{size[0]}, {torch.cuda.get_device_name()}",
        "network",
        "published\nfp32",
        *columns,
    )
    video = resized(clip, size)
    for name in names:
        network = random_network(name).cuda()
        cells = [_cuda_cell(PublishedRestorer(network), video)]
        for compiled in (False, True):
            if compiled:
                _compile(network)
            for precision in (None, torch.bfloat16):
                cells.append(_cuda_cell(NetworkRestorer(network, precision=precision), video))
        table.add_row(name, *cells)
    return table


def _cuda_cell(restorer: Restorer, clip: ClipInMemory) -> str:
    try:
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            for _ in restorer.restore(clip):
                pass
            torch.cuda.synchronize()
            seconds = time.perf_counter() - start
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory"
    return f"{len(clip) / seconds:.1f} ({torch.cuda.max_memory_allocated() / GIB:.1f})"


def _compile(network: InpaintingGenerator) -> None:
    for name in ("encode", "flows", "restore"):
        setattr(network, name, cast(Callable[..., object], torch.compile(getattr(network, name))))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


if __name__ == "__main__":
    main()
