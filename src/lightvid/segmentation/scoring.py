"""From class logits per frame to the class, the score and the visible frames of a track."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Classification = Literal["sigmoid", "softmax"]

# VisTR leaves out the mask of a frame below this score.
LEAST_FRAME_SCORE = 0.001


class Scoring(ABC):
    """What a network's class logits say about a track of F frames."""

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities `(..., n')` of logits `(..., n)`; these, not logits, are averaged where windows overlap."""

    @abstractmethod
    def visible(self, probabilities: Tensor) -> Tensor:
        """Whether the instance is to be seen, `(..., F)` bool, as far as probabilities `(..., F, n')` tell."""

    @abstractmethod
    def classes(self, probabilities: Tensor, present: Tensor) -> list[tuple[int, float]]:
        """Classes of one track, best first, each with its score.

        Args:
            probabilities: `(F, n')`.
            present: `(F,)` bool: visible, and with a mask that is not empty.

        Returns:
            Class numbers counted from 0, and scores in [0, 1]; none if the track is no object.
        """


class SigmoidScoring(Scoring):
    """Scores of independent class probabilities: the mean of a class over the frames where the instance is present.

    Args:
        visibility: an instance is not visible in frames where its best probability is below this part of the same
            track's best in any frame. Relative, so that it works for networks of little confidence, too.
        further_classes: classes besides the best that score at least this are answered too. AP counts each class by
            itself, so such copies raise it (SeqFormer's protocol). None: the best class alone.
    """

    def __init__(self, *, visibility: float = 0.25, further_classes: float | None = 0.05) -> None:
        self.visibility = visibility
        self.further_classes = further_classes

    def probabilities(self, logits: Tensor) -> Tensor:
        """See `Scoring.probabilities`."""
        return logits.sigmoid()

    def visible(self, probabilities: Tensor) -> Tensor:
        """See `Scoring.visible`."""
        best = probabilities.amax(-1)
        return best >= self.visibility * best.amax(-1, keepdim=True)

    def classes(self, probabilities: Tensor, present: Tensor) -> list[tuple[int, float]]:
        """See `Scoring.classes`."""
        if not present.any():
            return []
        scores, order = probabilities[present].mean(0).sort(descending=True, stable=True)
        ranked = list(zip(order.tolist(), scores.tolist(), strict=True))
        least = np.inf if self.further_classes is None else self.further_classes
        return ranked[:1] + [(index, score) for index, score in ranked[1:] if score >= least]


class PublishedScoring(Scoring):
    """VisTR's protocol for its softmax over "not visible", the classes and "no object".

    The best of all but "no object" is a frame's score and label. A track has the mean score of all its frames, and the
    label that is most frequent (of equals, the first). Tracks labelled "not visible" are no object: the published code
    writes them with category 0, which evaluation ignores.
    """

    def probabilities(self, logits: Tensor) -> Tensor:
        """See `Scoring.probabilities`; without "no object"."""
        return logits.softmax(-1)[..., :-1]

    def visible(self, probabilities: Tensor) -> Tensor:
        """See `Scoring.visible`."""
        return probabilities.amax(-1) >= LEAST_FRAME_SCORE

    def classes(self, probabilities: Tensor, present: Tensor) -> list[tuple[int, float]]:
        """See `Scoring.classes`."""
        scores, labels = probabilities.max(-1)
        label = int(np.bincount(labels.cpu().numpy()).argmax())  # NumPy's argmax is the first of equals
        return [(label - 1, float(scores.mean()))] if label > 0 and bool(torch.any(present)) else []
