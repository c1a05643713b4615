"""Small random predictions and targets."""

from collections.abc import Callable

import pytest
import torch

from lightvid.annotations.targets import InstanceTargets
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction


@pytest.fixture
def random_targets() -> Callable[..., InstanceTargets]:
    """Tracks of rectangles, each absent in some frames."""

    def make(
        tracks: int, *, frames: int = 3, height: int = 16, width: int = 24, classes: int = 5, seed: int = 0
    ) -> InstanceTargets:
        chance = torch.Generator().manual_seed(seed)
        visible = torch.rand(tracks, frames, generator=chance) > 0.4
        visible[:, 0] = True
        size = 0.2 + 0.3 * torch.rand(tracks, frames, 2, generator=chance)
        centre = size / 2 + (1 - size) * torch.rand(tracks, frames, 2, generator=chance)
        boxes = torch.cat([centre, size], dim=-1) * visible[..., None]
        low, high = (boxes[..., :2] - boxes[..., 2:] / 2), (boxes[..., :2] + boxes[..., 2:] / 2)
        x, y = (torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height
        columns = (x > low[..., :1]) & (x < high[..., :1])
        rows = (y > low[..., 1:]) & (y < high[..., 1:])
        labels = torch.randint(0, classes, (tracks,), generator=chance)
        return InstanceTargets(labels, boxes, visible, rows[..., :, None] & columns[..., None, :])

    return make


@pytest.fixture
def random_output() -> Callable[..., InstanceOutput]:
    """Predictions that gradients flow to, with one earlier decoder layer."""

    def make(
        clips: int,
        *,
        frames: int = 3,
        instances: int = 4,
        logits: int = 5,
        height: int = 16,
        width: int = 24,
        seed: int = 1,
    ) -> InstanceOutput:
        chance = torch.Generator().manual_seed(seed)

        def layer() -> InstancePrediction:
            return InstancePrediction(
                torch.randn(clips, frames, instances, logits, generator=chance).requires_grad_(),
                (0.2 + 0.4 * torch.rand(clips, frames, instances, 4, generator=chance)).requires_grad_(),
            )

        last, earlier = layer(), layer()
        size = (clips, frames, instances, -(-height // 4), -(-width // 4))
        return InstanceOutput(*last, torch.randn(size, generator=chance).requires_grad_(), [earlier])

    return make
