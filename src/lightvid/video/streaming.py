"""Frames of a video file by number, from decoders that stay open: for going through a long video once.

`lightvid.video.files` opens the file for every call, as the workers of a data loader need it; here the next frame costs
the decoding of one frame, wherever in the file it is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from lightvid.errors import DataError
from lightvid.video.files import open_container, upright
from lightvid.video.timing import FrameIndex

DECODERS = 3  # places of one file that are read in turns: the window, the references ahead of it, a second reader
SEEK_COST = 8  # in frames: a seek throws away what the decoder has begun


class FrameStream:
    """A video file whose frames are read from few places that move forward.

    Frames are given as a player shows them: a rotation that the file asks for is carried out. Several threads may read.

    Args:
        path: of the file.

    Raises:
        DataError: not a video, no frame in it, or cut off.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = FrameIndex.of(self.path)
        self.frame_names = [f"{number:05d}" for number in range(len(self.index.times))]
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._decoders: list[_Decoder] = []
        first = self._frame(0)
        self.turned = first.rotation % 180 == 90  # height and width are swapped
        self._size = (first.width, first.height) if self.turned else (first.height, first.width)

    def __len__(self) -> int:
        return len(self.frame_names)

    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as shown."""
        return self._size

    def read(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        """Decode the frames at `indices`, in that order, to `(N, H, W, 3)` RGB.

        Raises:
            DataError: a frame cannot be decoded.
        """
        frames = np.empty((len(indices), *self._size, 3), np.uint8)
        with self._lock:
            for place, number in enumerate(indices):
                picture = upright(self._frame(number))
                if picture.shape != frames.shape[1:]:
                    sizes = " and ".join(f"{width}x{height}" for height, width in (self._size, picture.shape[:2]))
                    raise DataError(f"{self.path}: frame {number}: frames of different sizes in one video ({sizes})")
                frames[place] = picture
        return frames

    def close(self) -> None:
        """Close the file; the next `read` would open it again."""
        with self._lock:
            self._open.close()
            self._decoders.clear()

    def _frame(self, number: int) -> av.VideoFrame:
        decoder, go_on = self._decoder_for(number)
        self._decoders.remove(decoder)
        self._decoders.append(decoder)  # the last one used stands last
        frame = decoder.frame(number, go_on=go_on)
        if frame is None:
            raise DataError(f"{self.path}: corrupt frame {number} (it cannot be decoded)")
        return frame

    def _decoder_for(self, number: int) -> tuple[_Decoder, bool]:
        """A decoder, and whether going on from where it is is cheaper than a seek."""
        behind = [decoder for decoder in self._decoders if 0 <= decoder.position <= number]
        nearest = max(behind, key=lambda decoder: decoder.position, default=None)
        if nearest is not None and number - nearest.position <= number - self.index.key_before(number) + SEEK_COST:
            return nearest, True
        if len(self._decoders) < DECODERS:
            container = self._open.enter_context(open_container(self.path))
            self._decoders.append(_Decoder(container, self.index))
            return self._decoders[-1], False
        return self._decoders[0], False


class _Decoder:
    """One place in the file. `position` is the number of the last frame that was decoded, -1 before the first."""

    def __init__(self, container: InputContainer, index: FrameIndex) -> None:
        self.position = -1
        self._container = container
        self._stream = container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._index = index
        self._last: av.VideoFrame | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())

    def frame(self, number: int, *, go_on: bool) -> av.VideoFrame | None:
        """The frame of this number, found by going on from `position` or by a seek; None if it cannot be decoded."""
        if go_on and (number == self.position or self._advance(number)):
            return self._last
        for entry in self._index.entries(number):
            try:
                self._container.seek(self._index.times[entry], stream=self._stream, backward=True)
            except av.FFmpegError:  # pictures under a video's name have no times to go to
                continue
            self._frames, self.position = self._container.decode(self._stream), -1
            if self._advance(number):
                return self._last
        return None

    def _advance(self, number: int) -> bool:
        """Decode until a frame; whether it came."""
        try:
            for frame in self._frames:
                self.position = self._number(frame)
                if self.position >= number:
                    self._last = frame
                    return self.position == number
        except (av.FFmpegError, OSError):
            pass
        self.position = -1  # nothing more comes from here
        return False

    def _number(self, frame: av.VideoFrame) -> int:
        if self._index.by_count or frame.pts is None:
            return self.position + 1
        return self._index.number(frame.pts, default=self.position)
