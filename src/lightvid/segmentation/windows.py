"""Which frames of a video a network sees together."""

from __future__ import annotations


def overlapping_windows(length: int, frames: int, overlap: int) -> list[range]:
    """Windows of `frames` frames that cover a video of `length`, each sharing `overlap` frames with the one before.

    The last window is moved back to end at the last frame, so it shares more. A video of at most `frames` frames is one
    window.
    """
    last = max(0, length - frames)
    starts = [*range(0, last, frames - overlap), last]
    return [range(start, min(start + frames, length)) for start in starts]


def ping_pong(length: int, frames: int) -> list[int]:
    """`frames` frame numbers that go through a video forwards and backwards in turn: 0 1 2 1 0 1 2 ..."""
    there_and_back = [*range(length), *range(length - 2, 0, -1)]
    return [there_and_back[index % len(there_and_back)] for index in range(frames)]


def repeat(length: int, frames: int) -> list[int]:
    """`frames` frame numbers that go through a video again and again, as VisTR fills its clips: 0 1 2 0 1 2 ..."""
    return [index % length for index in range(frames)]
