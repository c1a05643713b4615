"""When each frame of a video file is shown, and where decoding can start."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer

from lightvid.errors import DataError
from lightvid.video.files import open_container
from lightvid.video.matroska import is_cut_off


@dataclass(frozen=True)
class Timing:
    """When each frame of a video is shown.

    Attributes:
        times: of each frame, in units of `time_base`, ascending from 0.
        time_base: seconds.
        rate: frames per second, the mean where it varies.
        last: how long the last frame is shown, in units of `time_base`.
    """

    times: Sequence[int]
    time_base: Fraction
    rate: Fraction
    last: int = 1

    @classmethod
    def constant(cls, length: int, rate: Fraction) -> Timing:
        """Of so many frames, so many a second."""
        return cls(range(length), 1 / rate, rate)


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a file in order of display, from its packets, which are not decoded.

    Attributes:
        times: of each frame, in units of `time_base`, ascending.
        keys: numbers of the frames that need no other.
        time_base: seconds.
        rate: frames per second, the mean where it varies; None if the file does not say.
        by_count: the times are those of storage, as in an AVI file with frames stored in another order than shown:
            only counting from the start finds a frame.
        last: how long the last frame is shown, in units of `time_base`.
    """

    times: list[int]
    keys: list[int]
    time_base: Fraction
    rate: Fraction | None
    by_count: bool
    last: int

    @classmethod
    def of(cls, path: Path) -> FrameIndex:
        """List the frames of a file.

        Raises:
            DataError: not a video, no frame in it, or cut off.
        """
        with open_container(path) as container:
            stream = container.streams.video[0]
            declared, time_base, rate = stream.frames, stream.time_base, stream.average_rate or stream.guessed_rate
            reordered = bool(stream.codec_context.has_b_frames)
            stored = container.format.name == "avi"
            matroska = container.format.name == "matroska,webm"
            packets, stopped = _packets(container)
        stored_times = [packet.time for packet in packets if packet.shown]
        times = sorted(stored_times)
        if not times or time_base is None:
            raise DataError(f"{path}: not a video (it has no frames)")
        # An .avi counts the places for frames; those where one was dropped are empty.
        if stopped or (times[-1] + 1 if stored else len(packets)) < declared:
            raise DataError(
                f"{path}: cut off or damaged: frame {_first_missing(times)} is the first of its"
                f" {max(declared, len(times))} that cannot be decoded (copy it again, or cut it before that frame)"
            )
        if matroska and is_cut_off(path):
            last = _first_missing(times) - 1
            raise DataError(
                f"{path}: cut off or damaged: its end is missing, frames are there up to {last}"
                " (copy it again, or cut it there)"
            )
        by_count = stored and reordered and stored_times == times
        keys = sorted(bisect_left(times, packet.time) for packet in packets if packet.shown and packet.key)
        last = _last_duration(packets, times, reordered=reordered and not matroska)
        return cls(times, [0] if by_count or not keys else keys, time_base, rate, by_count, last)

    def key_before(self, number: int) -> int:
        """The last frame up to this one where decoding can start."""
        return self.keys[max(bisect_right(self.keys, number) - 1, 0)]

    def entries(self, number: int) -> list[int]:
        """Where to start decoding for a frame, one after the other until it appears.

        Its key frame; the one before, as a seek goes by the time of storage and may end too late; the start.
        """
        place = max(bisect_right(self.keys, number) - 1, 0)
        return list(dict.fromkeys((self.keys[place], self.keys[max(place - 1, 0)], 0)))

    def number(self, time: int, *, default: int) -> int:
        """Of the frame that is shown at this time, or `default` where none is."""
        place = bisect_left(self.times, time)
        return place if place < len(self.times) and self.times[place] == time else default

    def timing(self) -> Timing:
        """When the frames are to be shown in a copy, the first at 0.

        Some containers round each time to a millisecond. That is no variation of the rate, and is mended.
        """
        start = self.times[0]
        rate = self.rate or Fraction(24)
        if all(
            abs((time - start) * self.time_base - number / rate) <= self.time_base
            for number, time in enumerate(self.times)
        ):
            return Timing.constant(len(self.times), rate)
        return Timing([time - start for time in self.times], self.time_base, rate, self.last)

    @property
    def start(self) -> Fraction:
        """Of the first frame, in seconds."""
        return self.times[0] * self.time_base


class _Packet(NamedTuple):
    time: int
    duration: int
    key: bool
    shown: bool


def _packets(container: InputContainer) -> tuple[list[_Packet], bool]:
    """Of all whole packets what is needed, not their content; and whether reading ended in an error or a torn one."""
    packets: list[_Packet] = []
    try:
        for packet in container.demux(video=0):
            if packet.is_corrupt:
                return packets, True
            if packet.size:
                shown = packet.pts is not None and not packet.is_discard
                packets.append(_Packet(packet.pts or 0, packet.duration or 0, packet.is_keyframe, shown))
    except (av.FFmpegError, OSError):
        return packets, True
    return packets, False


def _last_duration(packets: list[_Packet], times: list[int], *, reordered: bool) -> int:
    """Of the frame that is shown last; as most others where the file does not say.

    Args:
        packets: in the order of storage.
        times: of all frames, ascending.
        reordered: durations are steps between the times of storage: that of the packet stored last is left for it.
    """
    last = packets[-1] if reordered else max((packet for packet in packets if packet.shown), key=lambda each: each.time)
    return last.duration or _usual_step(times) or 1


def _usual_step(times: list[int]) -> int:
    steps = sorted(later - earlier for earlier, later in pairwise(times))
    return steps[len(steps) // 2] if steps else 0


def _first_missing(times: list[int]) -> int:
    """The first gap in the times: frames are stored in another order than shown."""
    limit = 1.5 * _usual_step(times)
    gaps = (number for number, (earlier, later) in enumerate(pairwise(times), 1) if later - earlier > limit)
    return next(gaps, len(times))
