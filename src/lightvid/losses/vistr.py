"""Matching and loss of VisTR (Wang et al., CVPR 2021), for networks that classify with a softmax."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.annotations.targets import InstanceTargets
from lightvid.losses.boxes import iou
from lightvid.losses.instance_masks import at_target, dice_loss, mean_over_pixels, sigmoid_focal_loss
from lightvid.losses.instances import (
    InstanceLoss,
    MatchedTracks,
    box_losses,
    count_over_processes,
    matched_tracks,
)
from lightvid.losses.matching import Assignment, cheapest_assignments
from lightvid.networks.instance_output import InstancePrediction

NOT_VISIBLE = 0  # index of the logits; class k is at k + 1, no object is last


class VisTRLoss(InstanceLoss):
    """VisTR's loss: cross-entropy over all instances and frames, boxes and masks of matched tracks where visible.

    An instance without a track, or in a frame where its track is not visible, learns that it is no object. Sums are
    divided by the number of tracks times that of frames.

    Args:
        class_weight: weight of the cross-entropy.
        box_weight: weight of the L1 distance of boxes.
        giou_weight: weight of 1 - generalised IoU.
        mask_weight: weight of the masks' focal loss.
        dice_weight: weight of the masks' dice loss.
        no_object_weight: what "no object" counts in the cross-entropy, where classes count 1.
        published_visibility: as the published criterion, learn the m-th assigned instance of a clip in the frames where
            the m-th *annotated* track is visible, whichever track it was given. In such a frame a track that is not
            visible itself has the class "not visible in this frame", an empty box and an empty mask.
    """

    classification = "softmax"

    def __init__(
        self,
        *,
        class_weight: float = 1.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        mask_weight: float = 1.0,
        dice_weight: float = 1.0,
        no_object_weight: float = 0.1,
        published_visibility: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "class": class_weight,
            "box": box_weight,
            "giou": giou_weight,
            "mask": mask_weight,
            "dice": dice_weight,
        }
        self.no_object_weight = no_object_weight
        self.published_visibility = published_visibility

    @torch.no_grad()
    def match(
        self,
        layers: list[InstancePrediction],
        masks: Tensor,
        targets: list[InstanceTargets],
        padding_mask: Tensor | None,
    ) -> list[list[Assignment]]:
        """Match classes and boxes over all frames, also those where a track is not visible; masks play no part."""
        costs = [
            _cost(layer.logits[clip].float(), layer.boxes[clip].float(), target)
            for layer in layers
            for clip, target in enumerate(targets)
        ]
        flat = cheapest_assignments(costs)
        return [flat[start : start + len(targets)] for start in range(0, len(flat), len(targets))]

    def normaliser(self, targets: list[InstanceTargets]) -> Tensor:
        """The number of tracks times that of frames, averaged over all processes, at least 1."""
        boxes = sum(target.visible.numel() for target in targets)
        return count_over_processes(torch.tensor(float(boxes), device=targets[0].visible.device))

    def prediction_losses(
        self,
        prediction: InstancePrediction,
        targets: list[InstanceTargets],
        assignments: list[Assignment],
        number: Tensor,
    ) -> dict[str, Tensor]:
        """See `InstanceLoss`."""
        matched = self.matched(targets, assignments)
        logits = prediction.logits.float()
        no_object = logits.shape[-1] - 1
        labels = torch.full(logits.shape[:-1], no_object, device=logits.device)
        labels[matched.clips, :, matched.instances] = matched.labels.where(matched.visible.bool(), no_object)
        weight = torch.ones(logits.shape[-1], device=logits.device)
        weight[no_object] = self.no_object_weight
        return {
            "class": F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight),
            **box_losses(prediction.boxes, matched, number),
        }

    def track_mask_losses(
        self, logits: Tensor, truth: Tensor, padding: Tensor | None, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `InstanceLoss`; masks are compared at the targets' resolution, stretched to end with the frame."""
        logits, labels, weight = at_target(logits, truth, padding)
        focal = mean_over_pixels(sigmoid_focal_loss(logits, labels), weight)
        return (focal * visible).sum(), (dice_loss(logits, labels, weight) * visible).sum()

    def matched(self, targets: list[InstanceTargets], assignments: list[Assignment]) -> MatchedTracks:
        """See `InstanceLoss`."""
        pairs = list(zip(targets, assignments, strict=True))
        matched = matched_tracks(targets, assignments)._replace(
            labels=torch.cat([_frame_labels(target)[assigned.tracks] for target, assigned in pairs])
        )
        if not self.published_visibility:
            return matched
        rows = [target.visible[: len(assigned.tracks)] for target, assigned in pairs]
        return matched._replace(visible=torch.cat(rows).float())


def _cost(logits: Tensor, boxes: Tensor, target: InstanceTargets) -> Tensor:
    """Costs `(I, G)`, means over all frames: minus probability, mean L1 distance, minus plain IoU, weighted 1, 5, 2."""
    labels = _frame_labels(target).transpose(0, 1).unsqueeze(1).expand(-1, logits.shape[1], -1)
    probability = logits.softmax(-1).gather(-1, labels)
    predicted, annotated = boxes.unsqueeze(2), target.boxes.transpose(0, 1).unsqueeze(1)
    distance = (predicted - annotated).abs().mean(-1)
    return (5 * distance - probability - 2 * iou(predicted, annotated)).mean(0)


def _frame_labels(target: InstanceTargets) -> Tensor:
    """The index of each track's logit in each frame, `(G, T)`."""
    return torch.where(target.visible, target.classes.unsqueeze(-1) + 1, NOT_VISIBLE)
