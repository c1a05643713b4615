"""Whether the end of a Matroska or WebM file is missing, which its demuxer does not say."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

EBML_HEADER = 0x1A45DFA3
SEGMENT = 0x18538067


def is_cut_off(path: Path) -> bool:
    """Whether the file is shorter than its segment, which holds everything in it (RFC 9559), says of itself.

    The segment of a recording that was never finished does not say how long it is: then nothing is known to be missing.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(0)
        while True:
            name, size = _number(file, marked=True), _number(file)
            if name not in (EBML_HEADER, SEGMENT) or size is None:
                return False
            end = file.tell() + size
            if name == SEGMENT or end > length:
                return end > length
            file.seek(end)


def _number(file: BinaryIO, *, marked: bool = False) -> int | None:
    """The next number of variable length (RFC 8794); None at the end of the file, and for an unknown length.

    Args:
        file: at its first byte.
        marked: keep the bit that marks the number's length, as the names of elements do.
    """
    first = file.read(1)
    if not first or not first[0]:
        return None
    further = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(further), "big")
    bits = 7 * (further + 1)
    if marked:
        return value
    value &= (1 << bits) - 1
    return None if value == (1 << bits) - 1 else value
