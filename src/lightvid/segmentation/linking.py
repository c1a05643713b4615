"""Joining the instances of overlapping windows to tracks, while the windows come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightvid.segmentation.scoring import Scoring
from lightvid.segmentation.similarity import jaccard


@dataclass
class Instances:
    """I instances in F consecutive frames.

    Attributes:
        start: number of the first frame in the video.
        masks: `(I, F, h, w)` logits.
        probabilities: `(I, F, n')` of the classes, see `Scoring.probabilities`.
    """

    start: int
    masks: Tensor
    probabilities: Tensor

    @property
    def end(self) -> int:
        """Number of the frame after the last."""
        return self.start + self.masks.shape[1]

    def frames(self, start: int, end: int) -> Instances:
        """The same in the frames from `start` to before `end`."""
        part = slice(start - self.start, end - self.start)
        return Instances(start, self.masks[:, part], self.probabilities[:, part])


@dataclass
class Piece:
    """Some frames of one track that no later window can change.

    Attributes:
        track: the track's number, from 0 in the order of appearance.
        start: number of the first frame in the video.
        masks: `(F, h, w)` logits.
        probabilities: `(F, n')`.
    """

    track: int
    start: int
    masks: Tensor
    probabilities: Tensor


class Lost(NamedTuple):
    """A track that the last windows did not have, as it was when last seen.

    Attributes:
        track: its number.
        end: number of the frame after the last.
        mask: `(1, h * w)`, soft.
        probabilities: `(1, n')`.
    """

    track: int
    end: int
    mask: Tensor
    probabilities: Tensor


class Linker:
    """Joins windows to tracks, holding nothing but the last window's instances and one mask of each lost track.

    Instances of a new window and tracks of the one before are assigned one to one so that the sum of their similarities
    in the shared frames is largest: the soft IoU of their masks, plus the agreement of their class probabilities.
    A track without an instance is lost; for `patience` frames, an instance without a track may take it up again, if its
    first mask overlaps with the track's last one and is of its class. Other instances begin new tracks. In shared
    frames, mask logits and probabilities are averaged; a frame weighs the less the nearer it is to its window's edge,
    where the network has seen only what comes before or after.

    Args:
        scoring: decides in which frames an instance is visible; elsewhere its mask does not count.
        least_iou: below it, masks in the shared frames are of different objects.
        class_weight: of the agreement, against 1 for the masks.
        patience: frames after which a lost track is given up.
    """

    def __init__(
        self, scoring: Scoring, *, least_iou: float = 0.1, class_weight: float = 0.5, patience: int = 0
    ) -> None:
        self.scoring = scoring
        self.least_iou = least_iou
        self.class_weight = class_weight
        self.patience = patience
        self._lost: list[Lost] = []
        self._live: Instances | None = None
        self._weights = torch.empty(0)  # (I, F) of the averages in _live
        self._tracks: list[int] = []  # their numbers, one for each instance of _live
        self._begun = 0

    def add(self, window: Instances) -> list[Piece]:
        """Take in the next window.

        Args:
            window: its instances; it begins and ends no earlier than the one before.

        Returns:
            What is now final: all frames before the window, and all frames of the tracks that it does not have. A piece
            of a track that was lost may begin before the end of its last one: the earlier one's frames then hold.
        """
        frames = window.masks.shape[1]
        ramp = torch.arange(1.0, frames + 1, device=window.masks.device)
        weights = torch.minimum(ramp, ramp.flip(0)).expand(len(window.masks), -1).clone()
        if self._live is None:
            pieces, partners = [], {}
        else:
            pieces = self._pieces(range(len(self._tracks)), self._live.start, min(window.start, self._live.end))
            partners = self._partners(window)
            closed = [row for row in range(len(self._tracks)) if row not in partners.values()]
            pieces += self._pieces(closed, window.start, self._live.end)
            self._lost += [self._last_seen(row) for row in closed]
            window, weights = self._average(window, weights, partners)
        tracks = [self._tracks[partners[row]] if row in partners else -1 for row in range(len(window.masks))]
        self._find_again(window, tracks)
        for row, track in enumerate(tracks):
            if track < 0:
                tracks[row], self._begun = self._begun, self._begun + 1
        self._live, self._weights, self._tracks = window, weights, tracks
        return pieces

    def _last_seen(self, row: int) -> Lost:
        """A live track as it was in the last frame in which it was visible."""
        assert self._live is not None
        probabilities = self._live.probabilities[row]
        visible = self.scoring.visible(probabilities).nonzero().flatten()
        last = int(visible[-1]) if len(visible) else len(probabilities) - 1
        mask = self._live.masks[row, last].sigmoid().flatten()
        mean = probabilities[visible].mean(0) if len(visible) else probabilities.mean(0)
        return Lost(self._tracks[row], self._live.start + last + 1, mask[None], mean[None])

    def _find_again(self, window: Instances, tracks: list[int]) -> None:
        """Give lost tracks to instances that have none, in place, and forget those that were lost too long ago."""
        self._lost = [lost for lost in self._lost if window.start - lost.end < self.patience]
        rows = [row for row, track in enumerate(tracks) if track < 0]
        if not rows or not self._lost:
            return
        visible = self.scoring.visible(window.probabilities[rows])
        first = visible.int().argmax(1)
        masks = torch.stack([window.masks[row, frame] for row, frame in zip(rows, first.tolist(), strict=True)])
        iou = jaccard(masks.sigmoid().flatten(1), torch.cat([lost.mask for lost in self._lost]))
        before = torch.cat([lost.probabilities for lost in self._lost])
        agreement = jaccard(window.probabilities[rows].mean(1), before)
        similarity = torch.where(iou >= self.least_iou, iou + self.class_weight * agreement, 0.0).cpu()
        pairs = zip(*linear_sum_assignment(similarity.numpy(), maximize=True), strict=True)
        found = {int(row): int(column) for row, column in pairs if similarity[row, column] > 0}
        for row, column in found.items():
            tracks[rows[row]] = self._lost[column].track
        self._lost = [lost for column, lost in enumerate(self._lost) if column not in found.values()]

    def finish(self) -> list[Piece]:
        """All that is left, after the last window."""
        if self._live is None:
            return []
        pieces = self._pieces(range(len(self._tracks)), self._live.start, self._live.end)
        self._live, self._tracks = None, []
        return pieces

    def _pieces(self, rows: range | list[int], start: int, end: int) -> list[Piece]:
        assert self._live is not None
        if end <= start:
            return []
        part = self._live.frames(start, end)
        return [Piece(self._tracks[row], start, part.masks[row], part.probabilities[row]) for row in rows]

    def _partners(self, window: Instances) -> dict[int, int]:
        """The instance of the last window that each instance of the next goes on with."""
        assert self._live is not None
        start, end = window.start, self._live.end
        if end <= start or not len(window.masks) or not self._tracks:
            return {}
        new, old = window.frames(start, end), self._live.frames(start, end)
        iou = jaccard(self._seen(new), self._seen(old))
        agreement = jaccard(new.probabilities.mean(1), old.probabilities.mean(1))
        similarity = torch.where(iou >= self.least_iou, iou + self.class_weight * agreement, 0.0).cpu()
        pairs = zip(*linear_sum_assignment(similarity.numpy(), maximize=True), strict=True)
        return {int(row): int(column) for row, column in pairs if similarity[row, column] > 0}

    def _seen(self, instances: Instances) -> Tensor:
        """Soft masks `(I, N)` of all pixels, 0 in the frames where an instance is not visible."""
        visible = self.scoring.visible(instances.probabilities)
        return (instances.masks.sigmoid() * visible[..., None, None]).flatten(1)

    def _average(self, window: Instances, weights: Tensor, partners: dict[int, int]) -> tuple[Instances, Tensor]:
        """The window, its shared frames averaged with those of the partners, and the sums of weights."""
        assert self._live is not None
        if not partners:
            return window, weights
        rows, columns = list(partners), list(partners.values())
        shared = self._live.frames(window.start, self._live.end)
        count = shared.masks.shape[1]
        before = self._weights[columns, -count:]
        total = weights[rows, :count] + before
        masks, probabilities = window.masks.clone(), window.probabilities.clone()
        part = (before / total)[..., None]
        probabilities[rows, :count] = torch.lerp(probabilities[rows, :count], shared.probabilities[columns], part)
        masks[rows, :count] = torch.lerp(masks[rows, :count], shared.masks[columns], part[..., None])
        weights[rows, :count] = total
        return Instances(window.start, masks, probabilities), weights
