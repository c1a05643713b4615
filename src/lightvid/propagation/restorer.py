"""Restoring videos without learning: what other frames show is brought along the motion, the rest filled smoothly."""

from __future__ import annotations

from collections.abc import Iterator

from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.propagation.footage import REACH, Footage, checked_reach
from lightvid.propagation.propagating import Propagation
from lightvid.propagation.synthesis import STEADY, Synthesis


class PropagationRestorer:
    """A `Restorer` that needs no weights: flow-guided propagation of pixels.

    Dense inverse search gives the flow between consecutive frames; it is completed in the holes by the camera's motion
    and a smooth deviation from it. Every hidden pixel is followed forwards and backwards, along the flow and along the
    camera's motion, to frames that show it; each of these is judged by how it continues what is known around the hole,
    and those that agree are averaged. What no frame shows is filled smoothly from its border, steadily over time.

    A frame's result depends on the frames within reach alone, and memory on the reach, not on the video's length: about
    0.2 GB for frames of 432 x 240 and 1 GB for 1920 x 1080 by default. Motion of frames whose shorter side exceeds 360
    pixels is measured on reduced ones.

    Args:
        reach: frames before and after a frame that it is filled from.

    Raises:
        ConfigurationError: a reach below 1.
    """

    def __init__(self, *, reach: int = REACH) -> None:
        self.reach = checked_reach(reach)

    def restore(self, video: MaskedVideo, *, start: int = 0) -> Iterator[Frames]:
        """See `Restorer.restore`."""
        footage = Footage(video, reach=self.reach)
        synthesis = Synthesis(footage, Propagation(footage, kept=2 * STEADY + 2))
        for index in range(start, len(video)):
            yield synthesis.frame(index)
