"""What restorers take and give: videos with holes, and their frames with the holes filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]


class MaskedVideo(Protocol):
    """A video with holes, whose frames may lie on disk; reading keeps nothing."""

    def __len__(self) -> int:
        """Number of frames, at least 1."""

    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    def read(self, indices: Sequence[int]) -> Frames:
        """Frames as they are, holes included, `(N, H, W, 3)` RGB, in the order of `indices`."""

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """`(N, H, W)`, 1 = hole, 0 = known."""


class Restorer(Protocol):
    """A way to fill holes, in memory that does not grow with the video."""

    def restore(self, video: MaskedVideo, *, start: int = 0) -> Iterator[Frames]:
        """Fill the holes of a video.

        Args:
            video: not changed.
            start: first frame to give. Its result and those after it do not depend on `start`.

        Yields:
            Frame after frame from `start` on, `(H, W, 3)` uint8 RGB; known pixels as `video.read` gives them.
        """


@dataclass(frozen=True)
class ClipInMemory:
    """A `MaskedVideo` of arrays.

    Attributes:
        frames: `(T, H, W, 3)` uint8 RGB.
        masks: `(T, H, W)`, non-zero = hole.
    """

    frames: Frames
    masks: Frames

    def __len__(self) -> int:
        return len(self.frames)

    def size(self) -> tuple[int, int]:
        """See `MaskedVideo.size`."""
        height, width = self.frames.shape[1:3]
        return height, width

    def read(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read`."""
        return self.frames[list(indices)]

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """See `MaskedVideo.read_masks`."""
        return (self.masks[list(indices)] > 0).astype(np.uint8)
