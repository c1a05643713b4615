"""What the commands share that segment videos: their options, the network, the segmenter."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid.commands.arguments import choose_device, positive
from lightvid.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

    from lightvid.segmentation import SegmenterOptions, VideoSegmenter

logger = logging.getLogger(__name__)

RUNS = Path("runs/vis")


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Which network, and how it sees a video."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, help=f"of a run; the newest in {RUNS} if not given")
    source.add_argument("--published", metavar="NAME=FILE", help="a published one, such as vistr_r50=vistr_r50.pth")
    parser.add_argument("--frames", type=positive, help="of a window; as in training if not given")
    parser.add_argument("--shortest", type=positive, help="pixels of the shorter side for the network")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto)")


def load_network(checkpoint: Path | None, published: str | None) -> nn.Module:
    """The network of a run's checkpoint, of a published one, or of the newest run.

    Raises:
        LightvidError: there is none, or the file is unsuitable.
    """
    from lightvid import checkpoints

    if published is not None:
        name, separator, file = published.partition("=")
        if not separator:
            raise ConfigurationError(f"--published {published}: expected NAME=FILE, such as vistr_r50=vistr_r50.pth")
        return checkpoints.load(name, file)
    if checkpoint is None:
        found = sorted(RUNS.glob("*/checkpoints/best.ckpt"), key=lambda file: file.stat().st_mtime)
        if not found:
            raise ConfigurationError(f"no checkpoint in {RUNS}: give --checkpoint FILE, or make train TASK=vis")
        checkpoint = found[-1]
        logger.info("segmenting with %s", checkpoint)
    return checkpoints.load("vis", checkpoint)


def make_segmenter(
    network: nn.Module, trained: SegmenterOptions, options: argparse.Namespace, *, further_classes: float | None
) -> VideoSegmenter:
    """The segmenter of a network, on the device of the options; for `further_classes` see there."""
    from lightvid.segmentation import VideoSegmenter

    return VideoSegmenter(
        network.to(choose_device(options.device)),
        frames=options.frames or trained.frames,
        overlap=None if options.frames else trained.overlap,
        classification=trained.classification,
        category_ids=trained.category_ids,
        shortest=options.shortest or trained.shortest,
        longest=None if options.shortest else trained.longest,
        any_length=trained.classification == "sigmoid",  # as in validation
        further_classes=further_classes,
    )
