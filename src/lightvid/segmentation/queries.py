"""Which of the queries of one window stand for objects."""

from __future__ import annotations

from torch import Tensor

from lightvid.segmentation.scoring import Scoring
from lightvid.segmentation.similarity import jaccard


def choose_queries(
    probabilities: Tensor,
    masks: Tensor,
    scoring: Scoring,
    *,
    mask_threshold: float,
    score_threshold: float,
    duplicate_iou: float | None,
) -> list[int]:
    """The queries that are some object, each object once.

    Of two queries of the same best class whose masks over all frames have an IoU above `duplicate_iou`, the one with
    the lower score is left out. Those of different classes both stay: either may be right, and AP counts each class by
    itself.

    Args:
        probabilities: `(I, T, n')` of the window.
        masks: `(I, T, h, w)` logits.
        scoring: decides on classes, scores and visible frames.
        mask_threshold: what the logit of a pixel inside must exceed.
        score_threshold: least score over the window.
        duplicate_iou: None keeps all.

    Returns:
        Query numbers, best score first.
    """
    inside = masks > mask_threshold
    present = scoring.visible(probabilities) & inside.flatten(2).any(2)
    best = {
        query: classes[0]
        for query in range(len(masks))
        if (classes := scoring.classes(probabilities[query], present[query]))
    }
    ranked = sorted((q for q in best if best[q][1] >= score_threshold), key=lambda q: -best[q][1])
    if duplicate_iou is None or len(ranked) < 2:
        return ranked
    tubes = (inside & present[..., None, None])[ranked].flatten(1).float()
    iou = jaccard(tubes, tubes).tolist()
    kept: list[int] = []
    for place, query in enumerate(ranked):
        rivals = (k for k in kept if best[ranked[k]][0] == best[query][0])
        if all(iou[place][k] <= duplicate_iou for k in rivals):
            kept.append(place)
    return [ranked[place] for place in kept]
