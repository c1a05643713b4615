"""The loss of maps of objects' centres."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightvid.annotations import InstanceTargets
from lightvid.losses.boxes import generalised_iou
from lightvid.losses.instances import count_over_processes
from lightvid.networks import InstanceOutput
from lightvid.ops import without_autocast


class CentreLoss(nn.Module):
    """What `CentreQueries` learns from: every frame's centres, class by class, and the boxes around them.

    The maps learn by CenterNet's focal loss (Zhou et al., 2019, Eq. 1): 1 in the cell of a centre, less demanded of the
    cells near it. The box of every cell near a centre learns, the nearer the more (TTFNet, Liu et al., AAAI 2020).

    Args:
        centre_weight: of the focal loss.
        box_weight: of the L1 distance of boxes.
        giou_weight: of 1 - GIoU.
        spread: standard deviation of what counts as near, as a part of the box's side.
    """

    def __init__(
        self, *, centre_weight: float = 1.0, box_weight: float = 5.0, giou_weight: float = 2.0, spread: float = 0.12
    ) -> None:
        super().__init__()
        self.weights = {"centre": centre_weight, "centre_box": box_weight, "centre_giou": giou_weight}
        self.spread = spread

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what `forward` gives."""
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()

    def forward(
        self, output: InstanceOutput, targets: list[InstanceTargets], padding_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare what `CentreQueries` puts into `output.extra` with the targets; padding counts as background."""
        centres, boxes = output.extra["centres"], output.extra["centre_boxes"]
        losses = {name: centres.new_zeros(()) for name in self.weights}
        count, near = centres.new_zeros(()), centres.new_zeros(())
        with without_autocast(centres.device):
            for clip, target in enumerate(targets):
                part = output.extra["centre_part"][clip] if "centre_part" in output.extra else centres.new_ones(2)
                closeness = self._closeness(target, centres.shape[2:4], part)  # (G, T, H, W)
                wanted = torch.zeros_like(centres[clip])
                for number, closest in zip(target.classes.tolist(), closeness, strict=True):
                    wanted[..., number] = torch.maximum(wanted[..., number], closest)
                losses["centre"] = losses["centre"] + _focal(centres[clip], wanted)
                count = count + target.visible.sum()
                if len(target.classes):
                    weight, owner = closeness.max(0)
                    weight = weight * (weight > 0.1)
                    frame = torch.arange(len(weight), device=owner.device).view(-1, 1, 1)
                    truth = target.boxes[owner, frame]
                    losses["centre_box"] = losses["centre_box"] + ((boxes[clip] - truth).abs().sum(-1) * weight).sum()
                    giou = generalised_iou(boxes[clip], truth)
                    losses["centre_giou"] = losses["centre_giou"] + ((1 - giou) * weight).sum()
                    near = near + weight.sum()
        losses["centre"] = losses["centre"] / count_over_processes(count)
        for name in ("centre_box", "centre_giou"):
            losses[name] = losses[name] / count_over_processes(near)
        return losses

    def _closeness(self, target: InstanceTargets, size: torch.Size, part: Tensor) -> Tensor:
        """How near each cell is to each instance's centre, `(G, T, H, W)`: 1 in its cell, 0 if it is invisible."""
        cells = target.boxes * (part * part.new_tensor([size[1], size[0]])).repeat(2)
        axes = []
        for axis, length in ((0, size[1]), (1, size[0])):
            centre = cells[..., axis, None].floor()
            deviation = (cells[..., axis + 2, None] * self.spread).clamp_min(0.4)
            axes.append(torch.exp(-(((torch.arange(length, device=part.device) - centre) / deviation) ** 2) / 2))
        return axes[1].unsqueeze(-1) * axes[0].unsqueeze(-2) * target.visible[..., None, None]


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    probability = logits.sigmoid()
    positive = -((1 - probability) ** 2) * nn.functional.logsigmoid(logits)
    negative = -((1 - wanted) ** 4) * probability**2 * nn.functional.logsigmoid(-logits)
    return torch.where(wanted == 1, positive, negative).sum()
