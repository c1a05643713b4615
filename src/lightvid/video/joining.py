"""Joining the parts of a video into one file, with the timing and the sound of the video that it came from."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from lightvid.errors import DataError
from lightvid.video.audio import copied_packets, copyable, lead, sound_codecs
from lightvid.video.files import open_container
from lightvid.video.timing import Timing


@dataclass(frozen=True)
class Sound:
    """Audio of another file.

    Attributes:
        path: of that file.
        start: seconds in it at which the first frame is shown; sound before that is kept.
    """

    path: Path
    start: Fraction = Fraction(0)


def join_videos(parts: Sequence[Path], target: Path, *, timing: Timing, sound: Sound | None = None) -> list[str]:
    """Copy the frames of several files behind each other into one, without encoding them again.

    Args:
        parts: files that `VideoWriter` wrote with the same options and frame size.
        target: the new file; its suffix chooses the container.
        timing: of all frames.
        sound: what is copied as it is.

    Returns:
        Codecs of the audio streams that the container cannot hold, which are left out.

    Raises:
        DataError: the parts do not have one frame for each time, or cannot be joined.
        OSError: the file cannot be written.
    """
    try:
        return _join(parts, target, timing, sound)
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        if sound is None:
            raise DataError(f"{target}: cannot be joined ({error.strerror}): start again with --overwrite") from None
    # Some sound is refused only within it, or at its end.
    join_videos(parts, target, timing=timing)
    return sound_codecs(sound.path)


def _join(parts: Sequence[Path], target: Path, timing: Timing, sound: Sound | None) -> list[str]:
    delay = _reordering(parts, len(timing.times))
    left_out: list[str] = []
    with ExitStack() as open_files:
        output = open_files.enter_context(av.open(str(target), mode="w"))
        with open_container(parts[0]) as first:
            stream = output.add_stream_from_template(first.streams.video[0])
        stream.time_base = timing.time_base
        tracks, wait = [], 0
        if sound is not None:
            source = open_files.enter_context(open_container(sound.path))
            streams, left_out = copyable(source, output)
            if streams:
                wait = ceil(lead(streams, sound.start) / timing.time_base)
                begin = sound.start - wait * timing.time_base
                tracks.append(copied_packets(source, streams, output, start=begin))
        times = [time + wait for time in timing.times]
        tracks.insert(0, _video_packets(parts, stream, replace(timing, times=times), delay))
        for _, packet in heapq.merge(*tracks, key=lambda entry: entry[0]):
            output.mux(packet)
    return left_out


def _video_packets(parts: Sequence[Path], stream: Any, timing: Timing, delay: int) -> Iterator[tuple[float, av.Packet]]:
    """All packets with their new times: of display by the frame's number, of storage `delay` frames earlier.

    Before the first frame they have the steps of the last ones. An .mp4 lasts as long as all its times of storage and
    the duration of the packet stored last, and that is the duration of its frames then.
    """
    times = timing.times
    stored = [*(times[0] - times[-1] + times[-1 - frames] for frames in range(delay, 0, -1)), *times]
    ends = [*times[1:], times[-1] + timing.last]
    done = 0
    for part in parts:
        with open_container(part) as container:
            numbers = {time: number for number, time in enumerate(sorted(_display_times(container)))}
        with open_container(part) as container:
            for place, packet in enumerate(_packets(container)):
                number = done + numbers[packet.pts or 0]
                packet.stream, packet.time_base = stream, timing.time_base
                packet.pts, packet.dts = times[number], stored[done + place]
                last = done + place == len(times) - 1
                packet.duration = timing.last if last else ends[number] - times[number]
                yield float(packet.dts * timing.time_base), packet
        done += len(numbers)


def _reordering(parts: Sequence[Path], length: int) -> int:
    """By how many frames a frame may be stored later than its place in the order of display."""
    delay = found = 0
    for part in parts:
        with open_container(part) as container:
            stored = _display_times(container)
        places = {time: place for place, time in enumerate(sorted(stored))}
        delay = max([delay, *(place - places[time] for place, time in enumerate(stored))])
        found += len(places)
    if found != length:
        raise DataError(f"{parts[0].parent}: damaged ({found} frames of {length}): start again with --overwrite")
    return delay


def _display_times(container: InputContainer) -> list[int]:
    return [packet.pts or 0 for packet in _packets(container)]


def _packets(container: InputContainer) -> Iterator[av.Packet]:
    return (packet for packet in container.demux(video=0) if packet.size)
