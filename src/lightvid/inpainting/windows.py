"""Which frames of a video a network restores together, and which others it looks at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Frames that a network sees together.

    Attributes:
        local: neighbouring frames, which are restored.
        references: sparse frames of the rest of the video, ascending, which are looked at.
    """

    local: range
    references: tuple[int, ...]


@dataclass(frozen=True)
class SlidingWindows:
    """Windows that cover a video evenly, each computed when it is asked for.

    They are as few as `size` and `stride` allow, then as short as so few can be: their lengths differ by one frame at
    most. References lie on the multiples of `reference_stride`, half of them before the window and half behind it, as
    near as possible; where the video ends too early on one side, the other has more.

    Attributes:
        length: of the video, in frames.
        size: the most local frames of a window.
        stride: the most frames from one window to the next; neighbours share `size - stride`.
        reference_stride: frames from one reference to the next.
        max_references: of one window.
    """

    length: int
    size: int
    stride: int
    reference_stride: int
    max_references: int

    def __len__(self) -> int:
        return 1 + -(-max(0, self.length - self.size) // self.stride)

    def __getitem__(self, number: int) -> Window:
        if not 0 <= number < len(self):
            raise IndexError(f"window {number} of {len(self)}")
        local = range(self._start(number), self._stop(number))
        before = range(0, local.start, self.reference_stride)
        behind = range(_multiple(local.stop, self.reference_stride), self.length, self.reference_stride)
        earlier = min(len(before), max((self.max_references + 1) // 2, self.max_references - len(behind)))
        later = min(len(behind), self.max_references - earlier)
        return Window(local, (*before[len(before) - earlier :], *behind[:later]))

    def first_with(self, frame: int) -> int:
        """Number of the first window that restores a frame; `len(self)` for a frame that the video does not have."""
        return bisect_right(range(len(self)), frame, key=self._stop)

    def finished_with(self, number: int) -> range:
        """Frames that a window restores and no later one."""
        local = self[number].local
        return range(local.start, self[number + 1].local.start if number + 1 < len(self) else local.stop)

    def _start(self, number: int) -> int:
        shared = self.size - self.stride
        with_repeats = self.length + (len(self) - 1) * shared
        return number * with_repeats // len(self) - number * shared

    def _stop(self, number: int) -> int:
        return self._start(number + 1) + self.size - self.stride

    def needs_again(self, number: int, frame: int) -> bool:
        """Whether a frame that windows up to `number` have seen may be looked at by a later one."""
        if number + 1 >= len(self):
            return False
        later = self[number + 1]
        if frame >= later.local.start:
            return True
        # Near the end of the video, windows may reach back by one reference more than those before them.
        oldest = later.references[0] - self.reference_stride if later.references else later.local.start
        return frame % self.reference_stride == 0 and frame >= oldest


def published_windows(
    length: int, neighbour_stride: int, reference_stride: int, references: int | None
) -> Iterator[Window]:
    """The windows of the published test scripts of STTN, DSTT, FuseFormer and E2FGVI.

    One around every `neighbour_stride`-th frame, with as many neighbours on each side.

    Args:
        length: of the video, in frames.
        neighbour_stride: as above.
        reference_stride: frames from one reference to the next.
        references: None takes all of the video; a number at most so many, on a grid around the window's centre.
    """
    for centre in range(0, length, neighbour_stride):
        local = range(max(0, centre - neighbour_stride), min(length, centre + neighbour_stride + 1))
        if references is None:
            candidates = range(0, length, reference_stride)
        else:
            reach = reference_stride * (references // 2)
            candidates = range(max(0, centre - reach), min(length, centre + reach + 1), reference_stride)
        chosen = [index for index in candidates if index not in local]
        yield Window(local, tuple(chosen[:references]))


def _multiple(number: int, of: int) -> int:
    """The least multiple that is not below a number."""
    return -(-number // of) * of
