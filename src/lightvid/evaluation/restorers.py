"""The restorers that are measured: networks, results of other programs, baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid.evaluation.clips import FRAMES, Clip, RestoredFiles, check_partners, list_entries
from lightvid.inpainting.published import PublishedRestorer
from lightvid.inpainting.restorers import RestorerOptions, make_restorer
from lightvid.inpainting.video import Frames
from lightvid.metrics import BASELINES

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


def make_restorers(
    clips: list[Clip],
    options: RestorerOptions,
    *,
    results: Path | None = None,
    exact_blend: bool = False,
    baselines: bool = False,
) -> dict[str, RestorerOf]:
    """What is measured first, and the baselines where they are asked for, by names for the tables.

    Args:
        clips: to restore.
        options: of the restorer.
        results: root of the frames that another program has restored, which are then measured instead.
        exact_blend: measure the published protocol before its frames are cut to whole grey levels.
        baselines: also the restorations without learning.

    Raises:
        DataError: restored frames that do not belong to the clips.
        CheckpointError: no checkpoint of a network for inpainting.
    """
    if results is not None:
        found = {results.name: _of_files(results, clips)}
    else:
        found = {_name(options): _same(_restorer(options, exact_blend=exact_blend))}
    if baselines:
        found |= {name: _same(WholeClipRestorer(fill)) for name, fill in BASELINES.items()}
    return found


def _name(options: RestorerOptions) -> str:
    if options.published is not None:
        return options.published[0]
    return "propagation" if options.checkpoint is None else options.checkpoint.stem


def _restorer(options: RestorerOptions, *, exact_blend: bool) -> ClipRestorer:
    restorer = make_restorer(options)
    return PublishedBlend(restorer) if exact_blend and isinstance(restorer, PublishedRestorer) else restorer


def _of_files(root: Path, clips: list[Clip]) -> RestorerOf:
    """Opens and checks them all, before the first is measured."""
    entries = list_entries(root, FRAMES)
    videos = {clip.name: clip.frames.path for clip in clips}
    check_partners(videos, entries, clips[0].frames.path.parent, root)
    restorers = {clip.name: RestoredFiles(entries[clip.name], clip) for clip in clips}
    return lambda clip: restorers[clip.name]


def _same(restorer: ClipRestorer) -> RestorerOf:
    """One for all clips."""
    return lambda clip: restorer
