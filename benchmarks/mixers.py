"""Every mixer in one inpainting generator, beside the published networks: `python benchmarks/mixers.py [--quick]`.

All rows but the published ones share the stem, the feed-forward and the head of FuseFormer (8 blocks, 512 channels,
20x36 tokens per frame), so that they differ in the mixer alone. Counts are exact and the same everywhere (see
lightvid.profiling); seconds are measured where the script runs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lightvid.attention import (
    PSAL,
    DeformableAttention,
    FocalAttention,
    FullAttention,
    PatchAttention,
    SpatialAttention,
    TemporalAttention,
)
from lightvid.backbone import FusionFeedForward, SpatioTemporalTransformer
from lightvid.heads import SoftCompositionDecoder
from lightvid.networks import InpaintingGenerator, dstt, fuseformer, sttn
from lightvid.profiling import flops, peak_bytes, saved_bytes
from lightvid.stems import SoftSplitStem

HEIGHT, WIDTH = 240, 432
GIB = 2**30

Mixer = Callable[[int], nn.Module]
MIXERS: dict[str, Mixer | list[Mixer]] = {
    "patch": partial(PatchAttention, divisions=(1, 2, 4, 5)),
    "decoupled": [TemporalAttention, SpatialAttention],
    "full": FullAttention,
    "focal": FocalAttention,
    "deformable": DeformableAttention,
    "deformable, per frame": partial(DeformableAttention, mode="per_frame"),
    "psal": PSAL,
    "psal, aggregated": partial(PSAL, aggregate=True),
}
# GFLOP per frame as the papers give it (twice the multiply-adds of a forward pass of 8 frames, over 8).
PUBLISHED: dict[str, tuple[Callable[[], InpaintingGenerator] | None, float]] = {
    "STTN": (sttn, 257.9),
    "DSTT": (dstt, 113.1),
    "FuseFormer": (fuseformer, 187.9),
    "E2FGVI": (None, 173.7),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="clips of 2 frames, one residual scheme")
    quick = parser.parse_args().quick
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    frames = 2 if quick else 8
    table = Table(title=f"Inpainting generators, {WIDTH}x{HEIGHT}, T={frames}, float32; seconds on {_name(device)}")
    table.add_column("network")
    for column in (
        "published\nGFLOP/frame",
        "GFLOP\n/frame",
        "parameters\nM",
        "saved\nGiB",
        "step peak\nGiB",
        "saved, re-\nversible GiB",
        "step peak, re-\nversible GiB",
        "inference\npeak GiB",
        "inference\ns",
    ):
        table.add_column(column, justify="right")
    for name, (make, published) in PUBLISHED.items():
        row = [""] * 8 if make is None else _row(make, frames, device)
        table.add_row(name, f"{published}", *row)
    table.add_section()
    for name, mixer in MIXERS.items():
        make = partial(generator, mixer)
        reversible = None if quick else partial(generator, mixer, residual="reversible")
        table.add_row(name, "", *_row(make, frames, device, reversible))
    Console(width=130).print(table)


def generator(mixer: Mixer | list[Mixer], **options: str) -> InpaintingGenerator:
    """FuseFormer's generator with another mixer, without its learned positions."""
    backbone = SpatioTemporalTransformer(
        512,
        mixer=mixer,
        feed_forward=FusionFeedForward,
        norm="pre",
        **options,  # type: ignore[arg-type]
    )
    return InpaintingGenerator(SoftSplitStem(512), backbone, SoftCompositionDecoder(512))


def _row(
    make: Callable[[], InpaintingGenerator],
    frames: int,
    device: torch.device,
    reversible: Callable[[], InpaintingGenerator] | None = None,
) -> list[str]:
    with torch.device("meta"):
        network, (video, masks) = make(), _clip(frames)
    with torch.no_grad():
        cost = flops(lambda: network(video, masks)) / frames / 1e9
        inference = peak_bytes(lambda: network(video, masks))
    parameters = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    training = [*_training(make, frames), *(_training(reversible, frames) if reversible else ["", ""])]
    return [
        f"{cost:.1f}",
        f"{parameters:.1f}",
        *training,
        f"{inference / GIB:.2f}",
        f"{_seconds(make, frames, device):.1f}",
    ]


def _training(make: Callable[[], InpaintingGenerator], frames: int) -> list[str]:
    with torch.device("meta"):
        network, (video, masks) = make(), _clip(frames)
    saved = saved_bytes(lambda: network(video, masks), exclude=[video, masks, *network.parameters()])
    peak = peak_bytes(lambda: network(video, masks).frames.sum().backward())
    return [f"{saved / GIB:.2f}", f"{peak / GIB:.2f}"]


def _seconds(make: Callable[[], InpaintingGenerator], frames: int, device: torch.device) -> float:
    """The faster of two forward passes."""
    network = make().to(device).eval()
    video, masks = (x.to(device) for x in _clip(frames))
    durations = []
    with torch.inference_mode():
        for _ in range(2):
            start = time.perf_counter()
            network(video, masks)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            durations.append(time.perf_counter() - start)
    return min(durations)


def _clip(frames: int) -> tuple[Tensor, Tensor]:
    return torch.rand(1, frames, 3, HEIGHT, WIDTH), torch.ones(1, frames, 1, HEIGHT, WIDTH)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"


if __name__ == "__main__":
    main()
