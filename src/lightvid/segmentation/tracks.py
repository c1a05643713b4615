"""The tracks of one video, and how they are written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from lightvid.annotations.rle import RLE
from lightvid.segmentation.scoring import Scoring


class TrackResult(TypedDict):
    """One entry of a YouTube-VIS results file; `segmentations` has one entry for each frame of the video."""

    video_id: int
    category_id: int
    score: float
    segmentations: list[RLE | None]


@dataclass
class Track:
    """An instance in consecutive frames from `start` on.

    Attributes:
        start: number of the first frame.
        masks: one for each frame, at the video's size; None where empty.
        probabilities: of the classes, `(F, n')` for each piece of the track.
    """

    start: int
    masks: list[RLE | None] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)

    def append(self, start: int, masks: list[RLE | None], probabilities: Tensor) -> None:
        """Go on with frames from `start` on: those that the track has already are left out, a gap is filled with None.

        Args:
            start: number of the first frame.
            masks: of the frames.
            probabilities: `(F, n')`.
        """
        missing = start - (self.start + len(self.masks))
        if missing > 0:
            masks = [*[None] * missing, *masks]
            probabilities = torch.cat([probabilities.new_zeros(missing, probabilities.shape[1]), probabilities])
        self.masks += masks[max(0, -missing) :]
        self.probabilities.append(probabilities[max(0, -missing) :])


def track_results(
    tracks: Iterable[Track],
    scoring: Scoring,
    *,
    video_id: int,
    length: int,
    category_ids: Sequence[int],
    score_threshold: float,
    limit: int,
) -> list[TrackResult]:
    """Tracks as the results file has them, best score first.

    Args:
        tracks: of one video.
        scoring: gives each track its classes; one entry is made for each.
        video_id: of the video, in the dataset's file.
        length: frames of the video.
        category_ids: of class 0, 1, ...
        score_threshold: entries below it are left out.
        limit: most entries.
    """
    results: list[TrackResult] = []
    for track in tracks:
        probabilities = torch.cat(track.probabilities)
        visible = scoring.visible(probabilities).tolist()
        masks = [mask if seen else None for mask, seen in zip(track.masks, visible, strict=True)]
        segmentations = [None] * track.start + masks + [None] * (length - track.start - len(masks))
        for index, score in scoring.classes(probabilities, torch.tensor([mask is not None for mask in masks])):
            if score >= score_threshold:
                results.append(
                    {
                        "video_id": video_id,
                        "category_id": category_ids[index],
                        "score": score,
                        "segmentations": segmentations,
                    }
                )
    return sorted(results, key=lambda result: -result["score"])[:limit]
