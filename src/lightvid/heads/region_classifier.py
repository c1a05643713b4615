"""Classes from what lies inside a predicted box: the mask's shape and the finest map's content."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.annotations import InstanceTargets

BORDER = 1.1  # side of the region, in sides of the box
LARGEST_LOGIT = 4.0


class RegionClassifier(nn.Module):
    """Corrects the class logits of every query by a small convolutional network on the region of its box.

    Attention pools what it samples, so a decoder learns slowly how the parts of an object lie. Here every query's box
    is cut out of its own mask and of the stem's finest map, as in Mask R-CNN (He et al., ICCV 2017) and Mask Scoring
    R-CNN (Huang et al., CVPR 2019), and the frames of an instance are averaged. Masks and boxes get no gradient from
    here. At the start the correction is 0.

    Args:
        feature_channels: of the stem's maps, the finest first.
        size: side of the cut-out in samples.
        width: channels of the first convolution.
        colours: channels that the finest map is reduced to.
    """

    def __init__(self, *, feature_channels: list[int], size: int = 12, width: int = 32, colours: int = 8) -> None:
        super().__init__()
        self.size = size
        self.reduce = nn.Conv2d(feature_channels[0], colours, 1)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((colours + 2, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 2)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(2 * width * ((size + 3) // 4) ** 2, 4 * width)
        self.classes: nn.Linear | None = None

    def set_classes(self, logits: int) -> None:
        """Make the last layer for so many class logits."""
        self.classes = nn.Linear(self.hidden.out_features, logits)
        nn.init.zeros_(self.classes.weight)
        nn.init.zeros_(self.classes.bias)

    def forward(self, boxes: Tensor, masks: Tensor, features: list[Tensor], part: Tensor | None) -> Tensor:
        """What to add to the class logits.

        Args:
            boxes: `(B, T, I, 4)`, see `InstancePrediction`.
            masks: `(B, T, I, H', W')` logits.
            features: the stem's maps `(B * T, c, h, w)`, the finest first.
            part: `(B, T, 2)`: how much of width and height is no padding; None if all is.

        Returns:
            `(B, T, I, n)`.
        """
        assert self.classes is not None, "set_classes comes first"
        batch, frames, instances = boxes.shape[:3]
        boxes = boxes.detach().float()
        if part is not None:
            boxes = boxes * part.repeat(1, 1, 2).unsqueeze(2)
        masks = masks.detach().float().clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        grid = self._grid(boxes.flatten(0, 1))  # (B * T, I, S, S, 2)
        shape = _sample(masks.flatten(0, 2).unsqueeze(1), grid.flatten(0, 1))
        content = _sample(self.reduce(features[0]).float(), grid.flatten(1, 2))
        content = content.unflatten(2, (instances, self.size)).transpose(1, 2).flatten(0, 1)
        aspect = (boxes[..., 2] * masks.shape[-1] / (boxes[..., 3] * masks.shape[-2]).clamp_min(1e-3)).clamp_min(1e-3)
        aspect = aspect.log().flatten().view(-1, 1, 1, 1).expand_as(shape)
        hidden = self.convolutions(torch.cat((shape, content, aspect), dim=1)).flatten(1)
        hidden = F.relu(self.hidden(hidden)).view(batch, frames, instances, -1)
        return self.classes(hidden + hidden.mean(1, keepdim=True))

    def _grid(self, boxes: Tensor) -> Tensor:
        """Sampling places in [-1, 1] for boxes `(N, I, 4)`: `(N, I, S, S, 2)`."""
        line = torch.linspace(-BORDER, BORDER, self.size, device=boxes.device)
        x = (2 * boxes[..., 0] - 1).unsqueeze(-1) + line * boxes[..., 2].unsqueeze(-1)
        y = (2 * boxes[..., 1] - 1).unsqueeze(-1) + line * boxes[..., 3].unsqueeze(-1)
        size = self.size
        return torch.stack((x.unsqueeze(-2).expand(-1, -1, size, -1), y.unsqueeze(-1).expand(-1, -1, -1, size)), dim=-1)


def annotated_regions(targets: list[InstanceTargets]) -> tuple[Tensor, Tensor]:
    """Boxes `(B, T, G, 4)` and mask logits `(B, T, G, H / 4, W / 4)` of the annotated tracks, 0 beyond a clip's own.

    The masks are as coarse as predicted ones, and boxes and masks a little wrong, so that predictions look alike.
    """
    most = max([1, *(len(target.classes) for target in targets)])
    boxes, masks = [], []
    for target in targets:
        missing = most - len(target.classes)
        part = F.avg_pool2d(target.masks.float(), 4, ceil_mode=True)
        logits = (2 * part - 1) * LARGEST_LOGIT + 0.5 * torch.randn_like(part)
        wrong = target.boxes.new_tensor([0.015, 0.015, 0.05, 0.05]) * torch.randn_like(target.boxes)
        sides = target.boxes[..., 2:].repeat(1, 1, 2)
        boxes.append(F.pad(target.boxes + wrong * sides, (0, 0, 0, 0, 0, missing)))
        masks.append(F.pad(logits, (0, 0, 0, 0, 0, 0, 0, missing)))
    return torch.stack(boxes).transpose(1, 2), torch.stack(masks).transpose(1, 2)


def _sample(maps: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)
