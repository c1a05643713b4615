"""Restoring a visitor's clip, one visitor after the other."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from lightvid.demo.holes import coloured, write_masks
from lightvid.demo.visits import Visit
from lightvid.errors import DataError
from lightvid.inpainting.destination import DEFAULT_FPS, open_output
from lightvid.inpainting.restorers import RestorerOptions, make_restorer
from lightvid.inpainting.source import MaskedFiles, open_masked_video, survey
from lightvid.inpainting.video import Frames
from lightvid.inpainting.work import WorkFolder
from lightvid.video.streaming import FrameStream
from lightvid.video.writing import VideoWriter

ONE_AT_A_TIME = threading.Lock()
COMPARED_WIDTH = 480  # pixels of each of the three pictures, at most

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Result:
    """Files of a finished job.

    Attributes:
        restored: of the clip's size, timing and sound.
        compared: source, masked and restored side by side.
        notes: what the restored video does not keep of the clip, one line each.
    """

    restored: Path
    compared: Path
    notes: list[str]


def restore_clip(visit: Visit, options: RestorerOptions, *, follow: bool, dilate: int, report: Report) -> Result:
    """Fill what was painted.

    Args:
        visit: with a clip and something painted on it.
        options: of the way to fill it.
        follow: carry the holes along with the object; they stay where they are otherwise.
        dilate: by how many pixels to grow them.
        report: is told which part is done, 0 to 1, and what is being done.

    Raises:
        LightvidError: a mistake that the visitor can mend.
        Stopped: the visitor wants no more.
    """
    with ONE_AT_A_TIME, _working(visit):
        for old in visit.folder.glob("result-*"):
            shutil.rmtree(old)
        report(0, "following the object" if follow else "starting")
        masks = write_masks(visit, follow=follow)
        with open_masked_video(visit.clip_path, masks, dilate=dilate) as video:
            if survey(video).all:
                raise DataError("the holes cover every frame whole: paint less, or grow the holes by fewer pixels")
            return _restore(visit, video, options, report)


@contextmanager
def _working(visit: Visit) -> Iterator[None]:
    """A closed page's files go when its job has ended."""
    visit.working = True
    try:
        yield
    except OSError as error:
        visit.go_on()
        raise DataError(f"the server cannot write the result ({error.strerror})") from None
    finally:
        visit.working = False
        visit.wanted.clear()
        if visit.closed.is_set():
            shutil.rmtree(visit.folder, ignore_errors=True)


def _restore(visit: Visit, video: MaskedFiles, options: RestorerOptions, report: Report) -> Result:
    folder = visit.folder / f"result-{secrets.token_hex(4)}"
    work = WorkFolder(folder / "restored.mp4")
    output, notes = open_output(work, video.frames)
    work.begin({}, resume=False, overwrite=False)
    report(0, "preparing")
    restorer = make_restorer(options)
    rate = (video.frames.index.rate if isinstance(video.frames, FrameStream) else None) or DEFAULT_FPS
    compared = folder / "compared.mp4"
    with output, VideoWriter(compared, Fraction(rate)) as comparison:
        for number, frame in enumerate(restorer.restore(video)):
            visit.go_on()
            output.write(frame)
            comparison.write(_side_by_side(video.read([number])[0], video.read_masks([number])[0], frame))
            report((number + 1) / len(video), f"frame {number + 1} of {len(video)}")
    notes += output.complete()
    return Result(work.out, compared, notes)


def _side_by_side(frame: Frames, mask: Frames, restored: Frames) -> Frames:
    """Source, source with its holes in colour, and restored; scaled down where they are wide."""
    width = min(COMPARED_WIDTH, frame.shape[1])
    size = width, max(1, round(frame.shape[0] * width / frame.shape[1]))
    pictures = (frame, coloured(frame, mask), restored)
    parts = [cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures]
    return np.asarray(np.hstack(parts), np.uint8)
