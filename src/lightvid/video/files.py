"""Decoding chosen frames of a video file: decord first, PyAV where decord is missing or fails.

Every call opens the file, reads and closes it. A decord reader that stays open goes on decoding in the background,
and one that was opened before a fork blocks in the child.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from lightvid.errors import DataError

try:
    import decord
except (ImportError, OSError):  # no wheel for this machine, or one that does not load
    decord = None


def frame_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, as shown: a file may ask for a turn by 90 degrees, which its first frame tells.

    Raises:
        DataError: not a video.
    """
    with open_container(path) as container:
        stream = container.streams.video[0]
        size = stream.height, stream.width
        try:
            turned = next((frame.rotation % 180 == 90 for frame in container.decode(stream)), False)
        except av.FFmpegError:
            turned = False
    return (size[1], size[0]) if turned else size


def read_frames(path: Path, indices: Sequence[int]) -> NDArray[np.uint8]:
    """Decode the frames at `indices`, in that order, to `(N, H, W, 3)` RGB.

    Raises:
        DataError: not a video, or a frame cannot be decoded.
    """
    if decord is not None:
        try:
            return _read_with_decord(path, indices)
        except decord.DECORDError:
            pass
    return _read_with_pyav(path, indices)


def _read_with_decord(path: Path, indices: Sequence[int]) -> NDArray[np.uint8]:
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    return np.asarray(reader.get_batch([int(index) for index in indices]).asnumpy(), np.uint8)


def _read_with_pyav(path: Path, indices: Sequence[int]) -> NDArray[np.uint8]:
    with open_container(path) as container:
        times, keys = _timestamps(container)
        try:
            wanted = sorted({times[index] for index in indices})
        except IndexError:
            raise DataError(f"{path}: no frame {max(indices)} in a video of {len(times)} frames") from None
        frames = _decode(container, wanted, keys)
        missing = [index for index in indices if times[index] not in frames]
        if missing:
            raise DataError(f"{path}: corrupt frame {missing[0]} (it cannot be decoded)")
        return np.stack([frames[times[index]] for index in indices])


def _decode(container: InputContainer, wanted: list[int], keys: list[int]) -> dict[int, NDArray[np.uint8]]:
    """Decode the frames with these timestamps, entering at the last key frame before each that is not behind us."""
    stream = container.streams.video[0]
    frames: dict[int, NDArray[np.uint8]] = {}
    position = -1 << 62
    decoder: Iterator[av.VideoFrame] = iter(())
    for time in wanted:
        key = max((key for key in keys if key <= time), default=keys[0])
        if key > position:
            container.seek(key, stream=stream, backward=True)
            decoder = container.decode(stream)
        try:
            for frame in decoder:
                position = frame.pts if frame.pts is not None else position
                if position >= time:
                    if position == time:
                        frames[time] = upright(frame)
                    break
        except av.FFmpegError:
            position = -1 << 62  # whatever comes next enters at its own key frame
    return frames


def _timestamps(container: InputContainer) -> tuple[list[int], list[int]]:
    """Presentation times of all frames in order of display, and of the key frames."""
    times, keys = [], []  # the packets themselves would be the whole file
    for packet in container.demux(video=0):
        if packet.pts is not None and not packet.is_discard:
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    return sorted(times), sorted(keys)


def upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """`(H, W, 3)` RGB of a decoded frame, turned as the file asks for."""
    picture = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
    return np.rot90(picture, frame.rotation // 90)  # counter-clockwise, as FFmpeg counts


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a video file for reading.

    Raises:
        DataError: not a video, or no picture track in it.
    """
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        # These hold an index, mostly at their end, without which nothing in them can be found.
        cut = isinstance(error, av.InvalidDataError) and path.suffix.lower() in (".mp4", ".m4v", ".mov")
        what = "not a video, or cut off: its index is missing" if cut else "not a video"
        raise DataError(f"{path}: {what} ({error.strerror})") from None
    with container:
        if not container.streams.video:
            raise DataError(f"{path}: not a video (no picture track in it)")
        yield container
