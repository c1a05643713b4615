"""The sound of a video file, copied as it is into another."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from lightvid.video.files import open_container

# Of so many channels where the file does not say which they are, as in Matroska; FFmpeg takes the same for granted.
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def copyable(source: InputContainer, target: OutputContainer) -> tuple[list[Any], list[str]]:
    """The audio streams of a file that fit into the other's kind of container, and the codecs of those that do not."""
    fitting, others = [], []
    for stream in source.streams.audio:
        if stream.codec_context and _holds(target.format.name, Path(source.name), stream.index):
            fitting.append(stream)
        else:
            others.append(_codec(stream))
    return fitting, others


def sound_codecs(path: Path) -> list[str]:
    """Codecs of a file's audio streams.

    Raises:
        DataError: not a video.
    """
    with open_container(path) as container:
        return [_codec(stream) for stream in container.streams.audio]


def lead(streams: list[Any], start: Fraction) -> Fraction:
    """For how many seconds the first of these streams sounds before a time of its file.

    What lies before 0 does not count: a codec needs it to begin, and nobody hears it.
    """
    starts = (stream.start_time * stream.time_base for stream in streams if stream.start_time is not None)
    first = min(starts, default=start)
    return max(start - max(first, Fraction(0)), Fraction(0))


def copied_packets(
    source: InputContainer, streams: list[Any], target: OutputContainer, *, start: Fraction
) -> Iterator[tuple[float, av.Packet]]:
    """Packets for the new file, in the order of storage, each with its time in seconds.

    Args:
        source: opened, nothing read yet.
        streams: of it.
        target: gets a stream for each of them.
        start: seconds in the source that are 0 in the target.
    """
    twins = {stream.index: _add_twin(target, stream) for stream in streams}

    def packets() -> Iterator[tuple[float, av.Packet]]:
        for packet in source.demux(streams):
            if packet.dts is None or packet.time_base is None:  # the empty one at the end
                continue
            shift = round(start / packet.time_base)
            time = float((packet.dts - shift) * packet.time_base)
            packet.dts -= shift
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.stream = twins[packet.stream.index]
            yield time, packet

    return packets()


def has_sound(path: Path) -> bool:
    """Whether a file has an audio stream.

    Raises:
        DataError: not a video.
    """
    return bool(sound_codecs(path))


def _holds(kind: str, path: Path, index: int) -> bool:
    """Whether a kind of container takes a stream of a file. Some are refused only at the container's end."""
    try:
        with open_container(path) as source, av.open(io.BytesIO(), "w", format=kind) as trial:
            stream = source.streams[index]
            twin = _add_twin(trial, stream)
            packet = next((packet for packet in source.demux(stream) if packet.dts is not None), None)
            if packet is not None:
                packet.stream = twin
                trial.mux(packet)
    except (av.FFmpegError, ValueError):
        return False
    return True


def _add_twin(target: OutputContainer, stream: Any) -> Any:
    twin: Any = target.add_stream_from_template(stream)
    channels = stream.codec_context.layout.nb_channels
    if stream.codec_context.layout.name == f"{channels} channels" and channels in LAYOUTS:
        twin.codec_context.layout = LAYOUTS[channels]
    return twin


def _codec(stream: Any) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
