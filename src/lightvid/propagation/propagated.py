"""A video after propagation, for what restores the rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.propagation.footage import REACH, Footage, checked_reach
from lightvid.propagation.propagating import Propagated, Propagation

# Frames that are kept after they were read: the neighbours of a window and its references.
KEPT = 32
# A window and its farthest reference move through the video side by side.
PLACES = 2


class PropagatedVideo:
    """A `MaskedVideo` whose holes are already filled where another frame shows what they hide.

    Frames are filled when they are read. Reading in order is fastest, as the motion within reach is kept.

    Args:
        video: not changed.
        reach: frames before and after a frame that it is filled from.

    Raises:
        ConfigurationError: a reach below 1.
    """

    def __init__(self, video: MaskedVideo, *, reach: int = REACH) -> None:
        self.video = video
        footage = Footage(video, reach=checked_reach(reach), places=PLACES)
        self._propagation = Propagation(footage, kept=KEPT)

    def __len__(self) -> int:
        return len(self.video)

    def size(self) -> tuple[int, int]:
        """See `MaskedVideo.size`."""
        return self.video.size()

    def read(self, indices: Sequence[int]) -> Frames:
        """Frames with the propagated pixels; those of the holes that remain are as in the video."""
        return np.stack([one.frame for one in self._frames(indices)])

    def read_masks(self, indices: Sequence[int]) -> Frames:
        """The holes that remain, `(N, H, W)`, 1 = hole."""
        return np.stack([one.remaining for one in self._frames(indices)]).astype(np.uint8)

    def _frames(self, indices: Sequence[int]) -> list[Propagated]:
        return [self._propagation.frame(range(len(self))[index]) for index in indices]
