"""YouTube-VIS AP of videos that come one by one, in any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from lightvid.annotations.result_checks import RecordError, VideoFormat, check_record
from lightvid.errors import DataError
from lightvid.metrics.youtube_vis_averages import average
from lightvid.metrics.youtube_vis_matching import Matches, match_video
from lightvid.metrics.youtube_vis_tracks import LabelledRecord, check_annotation, decode_tracks


class YouTubeVISAP(Metric):
    """The numbers of `youtube_vis_ap`, video by video.

    Masks are compared as they come; what stays is about 70 bytes for each predicted track, whatever its masks. Each
    process may see other videos, some none; a video that several see, as distributed samplers repeat them, counts once.

    Args:
        categories: ids of the dataset's categories; a track of another one is an error. By default any.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    cells: list[Tensor]
    scores: list[Tensor]
    outcomes: list[Tensor]
    annotated_cells: list[Tensor]
    counted: list[Tensor]

    def __init__(self, categories: Sequence[int] | None = None) -> None:
        super().__init__()
        self.categories = None if categories is None else sorted(categories)
        for name in Matches._fields:
            self.add_state(name, [], dist_reduce_fx="cat")
        self._append(Matches.none())

    def update(
        self, predictions: Sequence[Mapping[str, Any]], tracks: Sequence[Mapping[str, Any]], *, length: int
    ) -> None:
        """Add one video, with all its tracks.

        Args:
            predictions: as in a results file: video_id, category_id, score, segmentations.
            tracks: as in the ground truth: video_id, category_id, segmentations as run lengths, and where given iscrowd
                and areas.
            length: frames of the video; each track has so many segmentations.

        Raises:
            DataError: a record is damaged, or they belong to several videos or differ in size.
        """
        records = [*tracks, *predictions]
        if not records:
            return
        video_id: Any = records[0].get("video_id")
        if not isinstance(video_id, int):
            raise DataError(f"a track without a whole number as its video_id: {video_id!r}")
        video = VideoFormat(length, *_frame_size(records))
        categories: Any = self.categories or {record.get("category_id") for record in records}
        predicted = []
        for index, record in enumerate(predictions):
            label = f"video {video_id}: predictions[{index}]"
            try:
                check_record(record, {video_id: video}, categories)
            except RecordError as problem:
                raise DataError(f"{label}: {problem}") from None
            predicted.append(LabelledRecord(label, record, record["segmentations"]))
        annotated = []
        for index, record in enumerate(tracks):
            label = f"video {video_id}: tracks[{index}]"
            if record.get("video_id") != video_id or record.get("category_id") not in categories:
                raise DataError(f"{label}: of another video, or of an unknown category")
            annotated.append(check_annotation(record, label, video))
        self._append(match_video(int(video_id), *decode_tracks(predicted, annotated)))

    def compute(self) -> dict[str, Tensor]:
        """The twelve numbers as float64 scalars, see `youtube_vis_ap`; all -1 before the first track to be found."""
        parts = zip(*(_as_list(getattr(self, name)) for name in Matches._fields), strict=True)
        matches = Matches.join([Matches(*(array.cpu().numpy() for array in part)) for part in parts]).each_once()
        categories = self.categories or np.unique(matches.annotated_cells[:, 1]).tolist()
        numbers = average(matches, categories).numbers()
        return {name: torch.tensor(value, dtype=torch.float64, device=self.device) for name, value in numbers.items()}

    def reset(self) -> None:
        """Forget all videos."""
        super().reset()
        self._append(Matches.none())

    def _append(self, matches: Matches) -> None:
        # each state holds at least an empty array, whose type and rank a process without videos brings to the gathering
        for name, array in zip(Matches._fields, matches, strict=True):
            getattr(self, name).append(torch.from_numpy(array).to(self.device))


def _as_list(state: list[Tensor] | Tensor) -> list[Tensor]:
    """A state after gathering is one tensor."""
    return [state] if isinstance(state, Tensor) else state


def _frame_size(records: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """(height, width) of the first mask; where there is none, none is compared either.

    Raises:
        DataError: masks as polygons, which do not tell the size of the frame.
    """
    masks = [mask for record in records for mask in record.get("segmentations") or () if mask is not None]
    for mask in masks:
        try:
            height, width = mask["size"]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"video {records[0].get('video_id')}: a mask that is no run lengths with a size") from None
        return height, width
    return 0, 0
