"""The restorers that `lightvid evaluate-inpaint` measures, by the options of the command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid import checkpoints
from lightvid.commands.arguments import choose_device
from lightvid.errors import CheckpointError
from lightvid.evaluation.clips import FRAMES, Clip, RestoredFiles, check_partners, list_entries
from lightvid.inpainting.published import PublishedRestorer
from lightvid.inpainting.restorers import RestorerOptions, make_restorer
from lightvid.inpainting.video import Frames
from lightvid.metrics import BASELINES
from lightvid.networks.i3d import I3D

if TYPE_CHECKING:
    from lightvid.evaluation.measuring import ClipRestorer

RestorerOf = Callable[[Clip], "ClipRestorer"]


class WholeClipRestorer:
    """A function of all frames and masks of a clip, such as the baselines, as a `Restorer`; it holds the clip."""

    def __init__(self, fill: Callable[[Frames, Frames], Frames]) -> None:
        self.fill = fill

    def restore(self, video: Clip, *, start: int = 0) -> Iterator[Frames]:
        """See `Restorer.restore`."""
        everything = range(len(video))
        yield from self.fill(video.read(everything), video.read_masks(everything))[start:]


class PublishedBlend:
    """The frames of a `PublishedRestorer` in float32, before they are cut to whole grey levels for writing.

    The papers' PSNR and SSIM are those of these frames.
    """

    def __init__(self, restorer: PublishedRestorer) -> None:
        self.restore = restorer.blend


def make_restorers(options: argparse.Namespace, clips: list[Clip]) -> dict[str, RestorerOf]:
    """What is measured first, and the baselines where they are asked for, by names for the tables.

    Raises:
        DataError: restored frames that do not belong to the clips.
        CheckpointError: no checkpoint of a network for inpainting.
    """
    name, restorer_of = _asked_for(options, clips)
    found = {name: restorer_of}
    if options.baselines:
        found |= {name: _same(WholeClipRestorer(fill)) for name, fill in BASELINES.items()}
    return found


def load_i3d(file: Path, *, batch_statistics: bool) -> I3D:
    """The network of VFID.

    Raises:
        CheckpointError: no such file, or one that lacks layers.
    """
    network = checkpoints.load("i3d", file, batch_statistics=batch_statistics)
    assert isinstance(network, I3D)
    report = network.checkpoint_report
    assert isinstance(report, checkpoints.CheckpointReport)
    if report.missing:
        raise CheckpointError(f"{file}: {report.missing[0]} is not in it, so it is not the whole of I3D")
    return network


def _asked_for(options: argparse.Namespace, clips: list[Clip]) -> tuple[str, RestorerOf]:
    if options.results:
        return options.results.name, _of_files(options.results, clips)
    if options.checkpoint or options.published:
        name = options.published[0] if options.published else options.checkpoint.stem
        return name, _same(_of_network(options))
    return "propagation", _same(make_restorer(RestorerOptions()))


def _of_files(root: Path, clips: list[Clip]) -> RestorerOf:
    """Opens and checks them all, before the first is measured."""
    entries = list_entries(root, FRAMES)
    videos = {clip.name: clip.frames.path for clip in clips}
    check_partners(videos, entries, clips[0].frames.path.parent, root)
    restorers = {clip.name: RestoredFiles(entries[clip.name], clip) for clip in clips}
    return lambda clip: restorers[clip.name]


def _of_network(options: argparse.Namespace) -> ClipRestorer:
    restorer = make_restorer(
        RestorerOptions(
            checkpoint=options.checkpoint,
            published=options.published,
            protocol=options.protocol,
            device=choose_device(options.device),
            whole_frame=True,
        )
    )
    if isinstance(restorer, PublishedRestorer) and "float" in options.legacy:
        return PublishedBlend(restorer)
    return restorer


def _same(restorer: ClipRestorer) -> RestorerOf:
    """One for all clips."""
    return lambda clip: restorer
