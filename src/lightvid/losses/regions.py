"""The loss of classes of annotated regions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.annotations import InstanceTargets
from lightvid.losses.instances import count_over_processes
from lightvid.networks import InstanceOutput


class RegionLoss(nn.Module):
    """Cross-entropy between the classes that `RegionClassifier` gives to annotated regions and their own.

    It learns from the truth long before predicted boxes and masks are of use, as two-stage detectors do that add the
    annotated boxes to their proposals.

    Args:
        weight: of the loss.
    """

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weights = {"region": weight}

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what `forward` gives."""
        return self.weights["region"] * losses["region"]

    def forward(
        self, output: InstanceOutput, targets: list[InstanceTargets], padding_mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare `output.extra["regions"]`, `(B, T, G, n)`, clips filled up to G tracks, with the classes."""
        logits = output.extra["regions"].float()
        total, count = logits.new_zeros(()), logits.new_zeros(())
        for clip, target in enumerate(targets):
            tracks = len(target.classes)
            labels = target.classes.unsqueeze(1).expand_as(target.visible)
            of_clip = logits[clip, :, :tracks].transpose(0, 1)
            total = total + F.cross_entropy(of_clip[target.visible], labels[target.visible], reduction="sum")
            count = count + target.visible.sum()
        return {"region": total / count_over_processes(count)}
