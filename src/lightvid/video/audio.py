"""The sound of a video file, copied as it is into another."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from lightvid.video.files import open_container


def copyable(source: InputContainer, target: OutputContainer) -> tuple[list[Any], list[str]]:
    """The audio streams of a file that fit into the other's kind of container, and the codecs of those that do not."""
    fitting, others = [], []
    for stream in source.streams.audio:
        name = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        if name in target.supported_codecs:
            fitting.append(stream)
        else:
            others.append(name)
    return fitting, others


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
    twins = {stream.index: target.add_stream_from_template(stream) for stream in streams}

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
    with open_container(path) as container:
        return bool(container.streams.audio)
