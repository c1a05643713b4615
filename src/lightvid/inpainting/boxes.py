"""Boxes around the holes of a video, and how long one of them is good for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lightvid.inpainting.video import Frames, MaskedVideo

PIXELS_AT_ONCE = 2**24  # of full frames in memory: 8 of 1920x1080
SHORTEST_SEGMENT = 40  # frames, unless the video ends
OVERLAP = 5  # frames that segments share
LOST_TO_MOTION = 1.25  # how much more a box is scaled down than a single frame's box would be


class Box(NamedTuple):
    """Rows `top` to `bottom` and columns `left` to `right` of a frame, without the last of each."""

    top: int
    left: int
    bottom: int
    right: int

    def cut(self, images: Frames) -> Frames:
        """This part of images `(H, W, ...)`, which share its memory."""
        return images[self.top : self.bottom, self.left : self.right]

    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class BoxSizes:
    """How a box around holes is made from the holes.

    Attributes:
        frame: height and width of the video's frames.
        working: height and width of what a restorer is given; a box has this aspect ratio, and at least this size.
        context: known surroundings on each side of the holes, in parts of their height and width.
    """

    frame: tuple[int, int]
    working: tuple[int, int]
    context: float

    def around(self, hole: Box) -> Box:
        """The box around a hole, as far as it lies inside the frame; moved, not cut, at the frame's border."""
        wanted = [side * (1 + 2 * self.context) for side in hole.size()]
        scale = max(1.0, *(side / working for side, working in zip(wanted, self.working, strict=True)))
        spans = []
        for low, high, working, limit in zip(hole[:2], hole[2:], self.working, self.frame, strict=True):
            side = min(limit, int(np.ceil(working * scale)))
            start = min(max(0, (low + high - side) // 2), limit - side)
            spans.append((start, start + side))
        (top, bottom), (left, right) = spans
        return Box(top, left, bottom, right)

    def reduction(self, box: Box) -> float:
        """By how much a box is scaled down for the restorer, at least 1."""
        return max(1.0, *(side / working for side, working in zip(box.size(), self.working, strict=True)))

    def reduced(self, box: Box) -> tuple[int, int]:
        """Height and width of a box for the restorer."""
        reduction = self.reduction(box)
        height, width = (max(1, round(side / reduction)) for side in box.size())
        return height, width


@dataclass(frozen=True)
class Segment:
    """Consecutive frames that share a box.

    Attributes:
        frames: those, the first of them shared with the segment before, the last with the one behind.
        box: around all their holes; None if they have none.
    """

    frames: range
    box: Box | None


def segments(video: MaskedVideo, sizes: BoxSizes) -> Iterator[Segment]:
    """Cut a video into segments within which holes move so little that one box is good for all frames.

    A segment goes on until its box would have to be scaled down `LOST_TO_MOTION` times more than the box of any one of
    its frames. Neighbours share `OVERLAP` frames. Masks are read once, in order.
    """
    start, hole, reduction = 0, None, 1.0
    recent: deque[Box | None] = deque(maxlen=OVERLAP)
    for index, new in enumerate(_holes(video)):
        joined, least = _join([hole, new]), max(reduction, _reduction(sizes, new))
        if index - start >= SHORTEST_SEGMENT and _reduction(sizes, joined) > LOST_TO_MOTION * least:
            yield Segment(range(start, index), hole and sizes.around(hole))
            start, shared = index - OVERLAP, [*recent, new]
            hole, reduction = _join(shared), max(_reduction(sizes, box) for box in shared)
        else:
            hole, reduction = joined, least
        recent.append(new)
    yield Segment(range(start, len(video)), hole and sizes.around(hole))


def batches(indices: Sequence[int], size: tuple[int, int]) -> Iterator[Sequence[int]]:
    """The same frame numbers in parts of at most `PIXELS_AT_ONCE`, for frames of this size."""
    count = max(1, PIXELS_AT_ONCE // (size[0] * size[1]))
    return (indices[first : first + count] for first in range(0, len(indices), count))


def _holes(video: MaskedVideo) -> Iterator[Box | None]:
    """The box around each frame's holes, without surroundings; None where there are none."""
    for part in batches(range(len(video)), video.size()):
        for mask in video.read_masks(part):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            yield Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if len(rows) else None


def _join(boxes: Sequence[Box | None]) -> Box | None:
    given = [box for box in boxes if box is not None]
    if not given:
        return None
    tops, lefts, bottoms, rights = zip(*given, strict=True)
    return Box(min(tops), min(lefts), max(bottoms), max(rights))


def _reduction(sizes: BoxSizes, hole: Box | None) -> float:
    return 1.0 if hole is None else sizes.reduction(sizes.around(hole))
