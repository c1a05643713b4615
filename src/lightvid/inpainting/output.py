"""Writing a restored video frame by frame: what is finished survives a stop, and nothing unfinished looks whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.inpainting.work import WorkFolder
from lightvid.video.joining import Sound, join_videos
from lightvid.video.look import Look
from lightvid.video.timing import Timing
from lightvid.video.writing import VideoWriter

SEGMENT = 60  # frames of a finished part; at most so many are lost by a stop


class Output(Protocol):
    """Takes frames in order. A context manager: what is unfinished within it is dropped, what is finished stays."""

    def __enter__(self) -> Output: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def finished(self) -> int:
        """How many frames, from the first on, are kept by now."""

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append an `(H, W, 3)` RGB frame."""

    def complete(self) -> list[str]:
        """Put the result in its place, when all frames are written.

        Returns:
            What was left out, one line each.
        """


class FolderOutput:
    """A folder of PNG images.

    Args:
        work: begun.
        names: of all frames, without suffix.
    """

    def __init__(self, work: WorkFolder, names: Sequence[str]) -> None:
        self._work = work
        self._folder = work.path / "frames"
        self._names = [f"{name}.png" for name in names]
        self._next = 0

    def __enter__(self) -> FolderOutput:
        self._folder.mkdir(exist_ok=True)
        self._next = self.finished()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        (self._folder / "unfinished").unlink(missing_ok=True)

    def finished(self) -> int:
        """See `Output.finished`."""
        there = {file.name for file in self._folder.iterdir()} if self._folder.is_dir() else set()
        return next((count for count, name in enumerate(self._names) if name not in there), len(self._names))

    def write(self, frame: NDArray[np.uint8]) -> None:
        """See `Output.write`."""
        _, content = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        partial = self._folder / "unfinished"
        partial.write_bytes(content.tobytes())
        os.replace(partial, self._folder / self._names[self._next])
        self._next += 1

    def complete(self) -> list[str]:
        """See `Output.complete`."""
        self._work.finish(self._folder)
        return []


class VideoOutput:
    """A video file, written in parts that are encoded for themselves and joined at the end.

    Parts begin at the same frames however often a run was stopped, so the file is the same.

    Args:
        work: begun.
        timing: of all frames.
        lossless: see `VideoWriter`.
        look: see `VideoWriter`.
        sound: audio that is copied.
    """

    def __init__(
        self, work: WorkFolder, timing: Timing, *, lossless: bool, look: Look, sound: Sound | None = None
    ) -> None:
        self._work = work
        self._timing = timing
        self._lossless = lossless
        self._look = look
        self._sound = sound
        self._length = len(timing.times)
        self._next = 0
        self._part = ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> VideoOutput:
        self._next = self.finished()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.__exit__(kind, error, trace)

    def finished(self) -> int:
        """See `Output.finished`."""
        starts = range(0, self._length, SEGMENT)
        return next((start for start in starts if not self._path(start).exists()), self._length)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """See `Output.write`."""
        if self._writer is None:
            writer = VideoWriter(self._path(self._next), self._timing.rate, lossless=self._lossless, look=self._look)
            self._writer = self._part.enter_context(writer)
        self._writer.write(frame)
        self._next += 1
        if self._next % SEGMENT == 0 or self._next == self._length:
            self._part.close()
            self._writer = None

    def complete(self) -> list[str]:
        """See `Output.complete`."""
        joined = self._work.path / f"joined{self._work.out.suffix}"
        parts = [self._path(start) for start in range(0, self._length, SEGMENT)]
        left_out = join_videos(parts, joined, timing=self._timing, sound=self._sound)
        self._work.finish(joined)
        suffix = self._work.out.suffix
        return [f"sound: {codec} does not go into {suffix}, so it is left out (.mkv holds it)" for codec in left_out]

    def _path(self, start: int) -> Path:
        return self._work.path / f"{start:08d}{self._work.out.suffix}"
