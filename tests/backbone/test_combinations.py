"""Every mixer under every residual scheme."""

from functools import partial

import pytest
import torch

from lightvid.attention import (
    PSAL,
    DeformableAttention,
    FocalAttention,
    FullAttention,
    PatchAttention,
    SpatialAttention,
    TemporalAttention,
)
from lightvid.backbone import MLP, ConvFeedForward, FusionFeedForward, SpatioTemporalTransformer

MIXERS = {
    "patch": partial(PatchAttention, divisions=(1, 2)),
    "decoupled": [partial(TemporalAttention, heads=2), partial(SpatialAttention, heads=2)],
    "full": partial(FullAttention, heads=2),
    "focal": partial(FocalAttention, heads=2, window=(2, 3)),
    "deformable": partial(DeformableAttention, heads=2, points=3),
    "deformable_per_frame": partial(DeformableAttention, heads=2, points=2, mode="per_frame"),
    "psal": partial(PSAL, heads=2, features=2, patch=3),
    "psal_aggregated": partial(PSAL, heads=2, features=2, patch=3, aggregate=True),
}
FEED_FORWARDS = {"conv": ConvFeedForward, "mlp": MLP, "fusion": partial(FusionFeedForward, hidden=2)}


def make(mixer, residual, *, feed_forward=MLP, recompute=True):
    torch.manual_seed(0)
    backbone = SpatioTemporalTransformer(
        8,
        blocks=2,
        mixer=MIXERS[mixer],
        feed_forward=feed_forward,
        norm="pre",
        residual=residual,
        recompute=recompute,
    ).double()
    with torch.no_grad():  # some weights start at zero, which would hide their gradients
        for parameter in backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return backbone


def tokens_and_holes(frames=3, height=5, width=4):
    torch.manual_seed(1)
    x = torch.randn(2, frames, height, width, 8, dtype=torch.float64, requires_grad=True)
    holes = torch.zeros(2, frames, height, width, dtype=torch.float64)
    holes[:, :, 1:3, 1:3] = 1
    return x, holes


def result_and_gradients(backbone):
    x, holes = tokens_and_holes()
    torch.manual_seed(2)
    result = backbone(x, holes)
    return [result, *torch.autograd.grad(result.square().sum(), [x, *backbone.parameters()])]


@pytest.mark.parametrize("residual", ["reversible", "reversible_split", "checkpoint"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_recomputing_gives_the_gradients_of_plain_autograd(mixer, residual):
    plain = make(mixer, "additive") if residual == "checkpoint" else make(mixer, residual, recompute=False)
    for one, other in zip(result_and_gradients(make(mixer, residual)), result_and_gradients(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("feed_forward", FEED_FORWARDS)
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_parameter_and_every_frame_learns(mixer, feed_forward):
    backbone = make(mixer, "additive", feed_forward=FEED_FORWARDS[feed_forward])
    result, of_x, *of_parameters = result_and_gradients(backbone)
    assert result.isfinite().all()
    assert of_x.abs().sum((0, 2, 3, 4)).min() > 0
    for (name, _), gradient in zip(backbone.named_parameters(), of_parameters, strict=True):
        assert gradient.isfinite().all()
        assert gradient.any(), name


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 3), (2, 3, 11)])
@pytest.mark.parametrize("mixer", MIXERS)
def test_images_and_clips_of_any_size_keep_their_shape_with_and_without_gradients(mixer, size):
    backbone = make(mixer, "additive").eval()
    x, holes = tokens_and_holes(*size)
    result = backbone(x, holes)
    assert result.shape == x.shape
    with torch.no_grad():
        torch.testing.assert_close(backbone(x, holes), result)


@pytest.mark.parametrize("mixer", MIXERS)
def test_mixed_precision_stays_near_single_precision(mixer):
    backbone = make(mixer, "additive").float().eval()
    x = tokens_and_holes()[0].float()
    expected = backbone(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = backbone(x)
    assert (result.float() - expected).abs().mean() < 0.05 * expected.abs().mean()
    result.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())
