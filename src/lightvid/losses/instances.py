"""What the losses of video instance segmentation share: layer by layer matching, then losses of the matched pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightvid.annotations.targets import InstanceTargets
from lightvid.errors import ConfigurationError
from lightvid.losses.boxes import generalised_iou
from lightvid.losses.instance_masks import check_mask_size
from lightvid.losses.matching import Assignment
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction
from lightvid.ops.precision import without_autocast
from lightvid.ops.processes import mean_over_processes

if TYPE_CHECKING:
    from lightvid.heads.query_decoder import Classification


class InstanceLoss(nn.Module, ABC):
    """Set-prediction loss over tracks: each decoder layer is matched and learns classes and boxes, the last also masks.

    The losses are computed in float32 at any precision. `weights` has the factor of each loss by its name: "class",
    "box", "giou", "mask", "dice". What follows an underscore tells where a loss comes from: "box_0" is that of the
    first decoder layer. `classification` says which logits a loss can read; None reads any.
    """

    weights: dict[str, float]
    classification: Classification | None = None

    def forward(
        self, output: InstanceOutput, targets: list[InstanceTargets], padding_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Unweighted losses by name, and "class_error" to log.

        Args:
            output: of the network.
            targets: one for each clip.
            padding_mask: `(B, T, H, W)` bool, True = padding, which no mask loss counts.

        Raises:
            ConfigurationError: output and targets differ in number or size, or the output is not finite.
        """
        _check(output, targets)
        with without_autocast(output.logits.device):
            layers = [*output.auxiliary, InstancePrediction(output.logits, output.boxes)]
            *earlier, assignments = self.match(layers, output.masks, targets, padding_mask)
            number = self.normaliser(targets)
            losses = self.prediction_losses(layers[-1], targets, assignments, number)
            losses |= self.mask_losses(output.masks, targets, assignments, padding_mask, number)
            losses["class_error"] = self.class_error(output.logits, targets, assignments)
            for index, assigned in enumerate(earlier):
                layer = self.prediction_losses(layers[index], targets, assigned, number)
                losses |= {f"{name}_{index}": value for name, value in layer.items()}
        return losses

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what `forward` answers."""
        weighted = [self.weights[name.split("_")[0]] * value for name, value in losses.items() if name != "class_error"]
        return torch.stack(weighted).sum()

    @abstractmethod
    def match(
        self,
        layers: list[InstancePrediction],
        masks: Tensor,
        targets: list[InstanceTargets],
        padding_mask: Tensor | None,
    ) -> list[list[Assignment]]:
        """The assignment of each clip in each layer; `masks` and `padding_mask` as in `forward`."""

    @abstractmethod
    def normaliser(self, targets: list[InstanceTargets]) -> Tensor:
        """The number of boxes that sums are divided by."""

    @abstractmethod
    def prediction_losses(
        self,
        prediction: InstancePrediction,
        targets: list[InstanceTargets],
        assignments: list[Assignment],
        number: Tensor,
    ) -> dict[str, Tensor]:
        """The losses "class", "box" and "giou" of one layer or group of queries whose assignment is known.

        Args:
            prediction: of any number of instances.
            targets: one for each clip.
            assignments: one for each clip; several instances may learn the same track.
            number: the number of boxes to divide by, see `normaliser`.
        """

    def mask_losses(
        self,
        masks: Tensor,
        targets: list[InstanceTargets],
        assignments: list[Assignment],
        padding_mask: Tensor | None,
        number: Tensor,
    ) -> dict[str, Tensor]:
        """The losses "mask" and "dice"; arguments as in `forward` and `prediction_losses`.

        One track at a time, computed again in the backward pass: memory does not grow with their number.
        """
        matched = self.matched(targets, assignments)
        logits = masks[matched.clips, :, matched.instances].float()
        truths = [
            (clip, target.masks[track : track + 1])
            for clip, (target, assigned) in enumerate(zip(targets, assignments, strict=True))
            for track in assigned.tracks.tolist()
        ]
        mask = dice = logits[:0].sum()  # the masks' gradient is zero, not missing, where there are no tracks
        for index, (clip, truth) in enumerate(truths):
            padding = None if padding_mask is None else padding_mask[clip : clip + 1]
            given = (logits[index : index + 1], truth, padding, matched.visible[index : index + 1])
            of_track = checkpoint(self.track_mask_losses, *given, use_reentrant=False, preserve_rng_state=False)
            mask, dice = mask + of_track[0], dice + of_track[1]
        return {"mask": mask / number, "dice": dice / number}

    @abstractmethod
    def track_mask_losses(
        self, logits: Tensor, truth: Tensor, padding: Tensor | None, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sums over frames of one track's "mask" and "dice" losses.

        Args:
            logits: `(1, T, h, w)`.
            truth: `(1, T, H, W)` bool.
            padding: `(1, T, H, W)` bool, or None.
            visible: `(1, T)`, 0 or 1.
        """

    def matched(self, targets: list[InstanceTargets], assignments: list[Assignment]) -> MatchedTracks:
        """The matched pairs of all clips, and what each instance learns in each frame."""
        return matched_tracks(targets, assignments)

    @torch.no_grad()
    def class_error(self, logits: Tensor, targets: list[InstanceTargets], assignments: list[Assignment]) -> Tensor:
        """The share of the matched visible frames whose most probable class is wrong, 0 to 1."""
        matched = self.matched(targets, assignments)
        wrong = logits[matched.clips, :, matched.instances].argmax(-1) != matched.labels
        return (wrong * matched.visible).sum() / matched.visible.sum().clamp_min(1)


class MatchedTracks(NamedTuple):
    """The M pairs of a batch: instance `instances[m]` of clip `clips[m]`, and what it learns.

    `x[clips, :, instances]` takes their predictions, `(M, T, ...)`, from an x of `(B, T, I, ...)`.

    Attributes:
        clips: `(M,)` int64.
        instances: `(M,)` int64.
        labels: `(M, T)` int64: the index of the logit that should be largest.
        boxes: `(M, T, 4)`.
        visible: `(M, T)` float32, 0 or 1.
    """

    clips: Tensor
    instances: Tensor
    labels: Tensor
    boxes: Tensor
    visible: Tensor


def matched_tracks(targets: list[InstanceTargets], assignments: list[Assignment]) -> MatchedTracks:
    """The pairs of all clips, one after the other; the label is the track's class in every frame."""
    pairs = list(zip(targets, assignments, strict=True))
    visible = torch.cat([target.visible[assigned.tracks] for target, assigned in pairs])
    classes = torch.cat([target.classes[assigned.tracks] for target, assigned in pairs])
    return MatchedTracks(
        clips=torch.cat([torch.full_like(assigned.tracks, clip) for clip, (_, assigned) in enumerate(pairs)]),
        instances=torch.cat([assigned.instances for _, assigned in pairs]),
        labels=classes.unsqueeze(-1).expand_as(visible),
        boxes=torch.cat([target.boxes[assigned.tracks] for target, assigned in pairs]),
        visible=visible.float(),
    )


def box_losses(boxes: Tensor, matched: MatchedTracks, number: Tensor) -> dict[str, Tensor]:
    """L1 distance (summed over the four numbers) and 1 - GIoU, summed over visible frames, divided by `number`.

    Args:
        boxes: `(B, T, I, 4)`.
        matched: the M pairs.
        number: of boxes.
    """
    predicted = boxes[matched.clips, :, matched.instances].float()
    distance = (predicted - matched.boxes).abs().sum(-1)
    apart = 1 - generalised_iou(predicted, matched.boxes)
    return {
        "box": (distance * matched.visible).sum() / number,
        "giou": (apart * matched.visible).sum() / number,
    }


def count_over_processes(count: Tensor) -> Tensor:
    """A count averaged over all processes, at least 1, so that each process's gradient has its share (as in DETR)."""
    return mean_over_processes(count).clamp_min(1)


def _check(output: InstanceOutput, targets: list[InstanceTargets]) -> None:
    clips, frames = output.logits.shape[:2]
    if len(targets) != clips:
        raise ConfigurationError(f"predictions of {clips} clips, targets of {len(targets)}: give one for each clip")
    for clip, target in enumerate(targets):
        if target.visible.shape[1] != frames:
            raise ConfigurationError(
                f"clip {clip} of the batch: predictions of {frames} frames, targets of {target.visible.shape[1]}"
            )
        check_mask_size(output.masks, target.masks)
