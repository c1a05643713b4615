"""Matching and loss of networks that classify with a sigmoid for each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lightvid.annotations.targets import InstanceTargets
from lightvid.errors import ConfigurationError
from lightvid.losses.boxes import generalised_iou
from lightvid.losses.instance_masks import (
    MASK_STRIDE,
    at_prediction,
    at_target,
    dice_loss,
    mean_over_pixels,
    sigmoid_focal_loss,
)
from lightvid.losses.instances import InstanceLoss, box_losses, count_over_processes
from lightvid.losses.matching import Assignment, cheapest_assignments
from lightvid.networks.instance_output import InstancePrediction


@dataclass(frozen=True)
class TrackMatcher:
    """Cost of giving an annotated track to a predicted instance: its terms' means over the track's visible frames.

    Attributes:
        class_cost: weight of the focal classification cost (Deformable DETR, Zhu et al., ICLR 2021).
        box_cost: weight of the L1 distance of boxes, summed over their four numbers.
        giou_cost: weight of minus the generalised IoU of boxes.
        dice_cost: weight of the dice loss of the whole track's masks, in the last layer.
        mask_points: the most points per clip that the dice loss looks at.
    """

    class_cost: float = 2.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    dice_cost: float = 0.0
    mask_points: int = 12544

    @torch.no_grad()
    def __call__(
        self,
        layers: list[InstancePrediction],
        masks: Tensor,
        targets: list[InstanceTargets],
        padding_mask: Tensor | None = None,
    ) -> list[list[Assignment]]:
        """Match every layer's instances.

        Args:
            layers: of equal numbers of instances.
            masks: `(B, T, I, ceil(H / 4), ceil(W / 4))`, logits of the last layer.
            targets: one for each clip.
            padding_mask: `(B, T, H, W)` bool, True = padding.

        Returns:
            For each layer the assignment of each clip.
        """
        logits = torch.stack([layer.logits for layer in layers]).float()
        boxes = torch.stack([layer.boxes for layer in layers]).float()
        costs = [self._cost(logits[:, clip], boxes[:, clip], target) for clip, target in enumerate(targets)]
        if self.dice_cost:
            for clip, target in enumerate(targets):
                padding = None if padding_mask is None else padding_mask[clip]
                costs[clip][-1] += self.dice_cost * self._dice(masks[clip], target, padding)
        flat = cheapest_assignments([cost[layer] for layer in range(len(layers)) for cost in costs])
        return [flat[start : start + len(targets)] for start in range(0, len(flat), len(targets))]

    def _cost(self, logits: Tensor, boxes: Tensor, target: InstanceTargets) -> Tensor:
        """Costs `(L, I, G)` of one clip's logits `(L, T, I, n)` and boxes `(L, T, I, 4)`."""
        positive = sigmoid_focal_loss(logits, torch.ones_like(logits))
        negative = sigmoid_focal_loss(logits, torch.zeros_like(logits))
        predicted, annotated = boxes.unsqueeze(-2), target.boxes.transpose(0, 1).unsqueeze(-3)
        cost = (
            self.class_cost * (positive - negative)[..., target.classes]
            + self.box_cost * (predicted - annotated).abs().sum(-1)
            - self.giou_cost * generalised_iou(predicted, annotated)
        )
        visible = target.visible.float().transpose(0, 1).unsqueeze(-2)
        return (cost * visible).sum(-3) / visible.sum(-3).clamp_min(1)

    def _dice(self, masks: Tensor, target: InstanceTargets, padding_mask: Tensor | None) -> Tensor:
        """Costs `(I, G)` of one clip's masks `(T, I, h, w)`."""
        truth, weight = at_prediction(target.masks, None if padding_mask is None else padding_mask.unsqueeze(0))
        # (G, T, h * w): how much a point counts for a track, 0 in frames where the track is not visible
        weight = weight.flatten(2) * target.visible.unsqueeze(-1)
        points = _spread(weight.shape[1:].numel(), self.mask_points, masks.device)
        frame, place = points // weight.shape[-1], points % weight.shape[-1]
        probability = masks.flatten(2)[frame, :, place].float().sigmoid()
        weight, truth = weight[:, frame, place], truth.flatten(2)[:, frame, place] * weight[:, frame, place]
        common = probability.T @ truth.T
        total = probability.T @ weight.T + truth.sum(-1)
        return 1 - (2 * common + 1) / (total + 1)


class TrackLoss(InstanceLoss):
    """Focal classification, boxes and masks of matched tracks, learnt in the frames where a track is visible.

    Sums are divided by the number of visible boxes. An instance without a track, or in a frame where its track is not
    visible, learns that it is of no class.

    Args:
        class_weight: weight of the focal loss over all instances and frames.
        box_weight: weight of the L1 distance of boxes.
        giou_weight: weight of 1 - generalised IoU.
        mask_weight: weight of the masks' loss, a mean over pixels.
        dice_weight: weight of the masks' dice loss.
        mask_loss: "bce", binary cross-entropy, or "focal".
        empty_masks: learn empty masks where a matched track is not visible.
        mask_resolution: compare masks at the prediction's resolution, with targets that say which share of a cell is
            covered, or at the target's, with predictions enlarged as `VideoSegmenter` does (16 times the memory).
        matcher: the costs of matching; the default ones if None.

    Raises:
        ConfigurationError: an unknown `mask_loss` or `mask_resolution`.
    """

    classification = "sigmoid"

    def __init__(
        self,
        *,
        class_weight: float = 2.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        mask_weight: float = 2.0,
        dice_weight: float = 5.0,
        mask_loss: Literal["bce", "focal"] = "bce",
        empty_masks: bool = True,
        mask_resolution: Literal["prediction", "target"] = "prediction",
        matcher: TrackMatcher | None = None,
    ) -> None:
        super().__init__()
        if mask_loss not in ("bce", "focal"):
            raise ConfigurationError(f"mask_loss={mask_loss!r}: expected bce or focal")
        if mask_resolution not in ("prediction", "target"):
            raise ConfigurationError(f"mask_resolution={mask_resolution!r}: expected prediction or target")
        self.weights = {
            "class": class_weight,
            "box": box_weight,
            "giou": giou_weight,
            "mask": mask_weight,
            "dice": dice_weight,
        }
        self.mask_loss = mask_loss
        self.empty_masks = empty_masks
        self.mask_resolution = mask_resolution
        self.matcher = matcher or TrackMatcher()

    def match(
        self,
        layers: list[InstancePrediction],
        masks: Tensor,
        targets: list[InstanceTargets],
        padding_mask: Tensor | None,
    ) -> list[list[Assignment]]:
        """See `TrackMatcher`."""
        return self.matcher(layers, masks, targets, padding_mask)

    def normaliser(self, targets: list[InstanceTargets]) -> Tensor:
        """The number of visible boxes, averaged over all processes, at least 1."""
        return count_over_processes(torch.stack([target.visible.sum() for target in targets]).sum().float())

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
        labels = torch.zeros_like(logits)
        positive = F.one_hot(matched.labels, logits.shape[-1]) * matched.visible.unsqueeze(-1)
        labels[matched.clips, :, matched.instances] = positive
        return {
            "class": sigmoid_focal_loss(logits, labels).sum() / number,
            **box_losses(prediction.boxes, matched, number),
        }

    def track_mask_losses(
        self, logits: Tensor, truth: Tensor, padding: Tensor | None, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `InstanceLoss`."""
        if self.mask_resolution == "target":
            logits, labels, weight = at_target(_enlarged(logits, *truth.shape[-2:]), truth, padding)
        else:
            labels, weight = at_prediction(truth, padding)
        if self.mask_loss == "focal":
            pixels = sigmoid_focal_loss(logits, labels)
        else:
            pixels = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        frames = mean_over_pixels(pixels, weight)
        if not self.empty_masks:
            frames = frames * visible
        return frames.sum(), (dice_loss(logits, labels, weight) * visible).sum()


def _enlarged(logits: Tensor, height: int, width: int) -> Tensor:
    """Masks whose cells are exact squares from the frame's top left on, as `VideoSegmenter` reads them.

    The last cells reach beyond a frame whose size is no multiple of theirs; what does is cut off.
    """
    enlarged = F.interpolate(logits, scale_factor=MASK_STRIDE, mode="bilinear", align_corners=False)
    return enlarged[..., :height, :width]


def _spread(size: int, number: int, device: torch.device) -> Tensor:
    """At most `number` of the indices 0 to size - 1, evenly spread and never in step with the rows (golden ratio)."""
    if size <= number:
        return torch.arange(size, device=device)
    steps = torch.arange(number, device=device, dtype=torch.float64) * 0.6180339887498949
    return (steps.frac() * size).long()
