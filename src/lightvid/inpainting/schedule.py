"""What has to be read and encoded for each window of a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lightvid.inpainting.encoding import batch_of
from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.inpainting.windows import SlidingWindows, Window


@dataclass(frozen=True)
class Step:
    """One window with what the network has to be given for it.

    Attributes:
        number: of the window.
        window: its frames.
        clip: frames `(H, W, 3)` and masks `(H, W)` of its local frames and of those to encode, by number.
        batches: frames to encode for it. None if no local frame has a hole, so that there is nothing to restore.
    """

    number: int
    window: Window
    clip: dict[int, tuple[Frames, Frames]]
    batches: list[range] | None


def steps(video: MaskedVideo, windows: SlidingWindows, *, batch: int, start: int) -> Iterator[Step]:
    """The windows from that of frame `start` on. In one pass, no frame is read or encoded twice.

    Args:
        video: read here, when a step is asked for.
        windows: of the video.
        batch: frames that are encoded at once.
        start: first frame to restore.
    """
    length = len(video)
    clip: dict[int, tuple[Frames, Frames]] = {}
    encoded: set[int] = set()
    for number in range(windows.first_with(start), len(windows)):
        window = windows[number]
        clip |= _read(video, [index for index in window.local if index not in clip])
        batches = None
        if any(clip[index][1].any() for index in window.local):
            missing = [index for index in (*window.local, *window.references) if index not in encoded]
            batches = sorted({batch_of(index, length, windows.reference_stride, batch) for index in missing}, key=min)
            to_encode = [index for group in batches for index in group]
            clip |= _read(video, [index for index in to_encode if index not in clip])
            encoded.update(to_encode)
        yield Step(number, window, dict(clip), batches)
        encoded = {index for index in encoded if windows.needs_again(number, index)}
        if number + 1 < len(windows):
            clip = {index: pair for index, pair in clip.items() if index >= windows[number + 1].local.start}


def _read(video: MaskedVideo, indices: list[int]) -> dict[int, tuple[Frames, Frames]]:
    """Frames and masks, each with memory of its own."""
    if not indices:
        return {}
    pairs = zip(video.read(indices), video.read_masks(indices), strict=True)
    return {index: (frame.copy(), mask.copy()) for index, (frame, mask) in zip(indices, pairs, strict=True)}
