"""Writing clips to video files."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from lightvid.video.look import UNSPECIFIED, Look

FFV1_OPTIONS = {"level": "3", "slicecrc": "1"}
# With its macroblock tree, x264 does not give the same file twice; a run that was stopped should end as any other.
H264_OPTIONS = {"crf": "18", "x264-params": "mbtree=0"}


def write_video(path: str | Path, frames: NDArray[np.uint8], fps: float | Fraction) -> None:
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
        lossless: FFV1 in RGB (RFC 9043) instead, which gives back every value, at any size; for .mkv.
        look: tags for players, and the matrix to luma and chroma.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: str | Path, fps: float | Fraction, *, lossless: bool = False, look: Look | None = None
    ) -> None:
        self.path = Path(path)
        self._partial = self.path.with_name(f"{self.path.stem}.partial{self.path.suffix}")
        self._rate = Fraction(fps).limit_denominator(1001)
        self._lossless = lossless
        self._look = look or Look()
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(self._partial), mode="w")
        return self

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append an `(H, W, 3)` RGB frame, of the size of the first."""
        height, width = frame.shape[:2]
        if not self._lossless:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(*frame.shape[:2])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if not self._lossless and self._look.matrix != UNSPECIFIED:
            picture = picture.reformat(
                format="yuv420p", dst_colorspace=self._look.matrix, dst_color_range=ColorRange.MPEG
            )
        self._container.mux(self._stream.encode(picture))

    def _add_stream(self, height: int, width: int) -> Any:
        stream = self._container.add_stream("ffv1" if self._lossless else "libx264", rate=self._rate)
        stream.height, stream.width = height, width
        stream.pix_fmt = "bgr0" if self._lossless else "yuv420p"
        stream.options = FFV1_OPTIONS if self._lossless else H264_OPTIONS
        codec = stream.codec_context
        codec.color_primaries, codec.color_trc = self._look.primaries, self._look.transfer
        if not self._lossless and self._look.matrix != UNSPECIFIED:
            codec.colorspace, codec.color_range = self._look.matrix, ColorRange.MPEG
        if self._look.pixel_aspect:
            codec.sample_aspect_ratio = self._look.pixel_aspect
        return stream

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
