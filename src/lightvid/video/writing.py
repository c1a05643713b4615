"""Writing clips to video files."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def write_video(path: str | Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Write a clip that is in memory, as `VideoWriter` does.

    Args:
        path: the file; its folder is made if it is missing.
        frames: `(T, H, W, 3)` RGB.
        fps: frames per second.
    """
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)


class VideoWriter:
    """Writes an H.264 file that every player shows (yuv420p), frame by frame.

    That format wants even sizes: an odd height or width gets its last row or column once more.

    A context manager: the file appears under its name when the block ends, whole. Until then it has another name beside
    it, and a block that ends in an error leaves nothing.

    Args:
        path: the file; its folder is made if it is missing.
        fps: frames per second.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), mode="w")
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append an `(H, W, 3)` RGB frame, of the size of the first."""
        height, width = frame.shape[:2]
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=self._rate)
            self._stream.height, self._stream.width = frame.shape[:2]
            self._stream.pix_fmt = "yuv420p"
            self._stream.options = {"crf": "18"}
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                os.replace(self._partial, self.path)
        finally:
            self._partial.unlink(missing_ok=True)
