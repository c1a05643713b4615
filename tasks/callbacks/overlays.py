"""Pictures and videos of instances: tracks drawn over the frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from lightvid.annotations.rle import decode
from lightvid.video.overlays import draw_tracks

from .media import Pictures, Shown


class SaveOverlays(Pictures):
    """Strips and a video of the tracks that are found and of the annotated ones; arguments as `Pictures`.

    They are drawn at the size of the network's frames.

    Args:
        video_frames: the most frames of a clip, its first ones, that are shown.
        least_score: tracks below it are not drawn.
    """

    def __init__(
        self,
        folder: str,
        *,
        clips: int = 3,
        frames: int = 5,
        fps: int = 6,
        dataloader: int = 0,
        prefix: str = "",
        video_frames: int = 60,
        least_score: float = 0.3,
    ) -> None:
        super().__init__(folder, clips=clips, frames=frames, fps=fps, dataloader=dataloader, prefix=prefix)
        self.video_frames = video_frames
        self.least_score = least_score

    def shown(self, pl_module: pl.LightningModule, outputs: Any, batch: Any) -> Iterator[tuple[int, Iterator[Shown]]]:
        """See `Pictures.shown`; the batch is an `InstanceByteBatch`."""
        names = dict(pl_module.categories)  # type: ignore[arg-type]
        clips = zip(batch.frames, batch.sizes.tolist(), batch.truth, outputs["results"], strict=True)
        for padded, (height, width), truth, results in clips:
            frames = padded[: self.video_frames, :height, :width].numpy()
            tracks = {"found": [t for t in results if t["score"] >= self.least_score], "truth": truth.tracks}
            yield len(frames), _overlays(frames, tracks, (truth.height, truth.width), names)


def _overlays(
    frames: NDArray[np.uint8],
    tracks: Mapping[str, Sequence[Mapping[str, Any]]],
    size: tuple[int, int],
    names: Mapping[int, str],
) -> Iterator[Shown]:
    """Frames `(T, H, W, 3)` with the tracks of each caption, whose masks have another size."""
    for number, frame in enumerate(frames):
        yield {caption: _draw(frame, number, drawn, size, names) for caption, drawn in tracks.items()}


def _draw(
    frame: NDArray[np.uint8],
    number: int,
    tracks: Sequence[Mapping[str, Any]],
    size: tuple[int, int],
    names: Mapping[int, str],
) -> NDArray[np.uint8]:
    masks = [decode_track(track, number, size, frame.shape[:2]) for track in tracks]
    scores = [track["score"] for track in tracks] if all("score" in track for track in tracks) else None
    labels = [names.get(track["category_id"], "?") for track in tracks]
    return draw_tracks(frame, masks, ids=range(len(tracks)), labels=labels, scores=scores)


def decode_track(
    track: Mapping[str, Any], number: int, size: tuple[int, int], shape: tuple[int, ...]
) -> NDArray[np.uint8] | None:
    """A track's mask in one frame from its run lengths of one size, at another; None where it has none."""
    mask = track["segmentations"][number]
    if mask is None:
        return None
    decoded = decode(mask, *size, "a track")
    return np.asarray(cv2.resize(decoded, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT))
