"""Opening clips for one pass through them: what is slow to open stays open."""

from __future__ import annotations

import zipfile
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path

from lightvid.errors import DataError
from lightvid.video.reading import VIDEO_SUFFIXES, FrameZip, ImageSequence, open_video, open_zip
from lightvid.video.streaming import FrameStream


def open_frames(path: str | Path, *, what: str = "video") -> FrameStream | ImageSequence:
    """Open a folder of images, a .zip of them or a video file, as `lightvid.video.open_video` does.

    Args:
        path: of the clip.
        what: it is, for messages.

    Raises:
        DataError: missing, without frames, or not readable as what its name says.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such {what} (expected a folder of images, a .zip of images or a video file)")
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return FrameStream(path)
    clip = open_video(path)
    if isinstance(clip, FrameZip):
        return OpenFrameZip(clip.path, clip.name, clip.frame_names)
    assert isinstance(clip, ImageSequence)
    return clip


class OpenFrameZip(FrameZip):
    """A zip that stays open: listing what is in it takes much longer than reading one frame."""

    def _archive(self) -> AbstractContextManager[zipfile.ZipFile]:
        return nullcontext(self._opened)

    @cached_property
    def _opened(self) -> zipfile.ZipFile:
        with open_zip(self.path):
            pass  # an error of opening has its message there
        return zipfile.ZipFile(self.path)
