import pytest
import torch
from torch.nn import functional as F

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.heads import SoftCompositionDecoder
from lightvid.networks import InpaintingGenerator
from lightvid.stems import SoftSplitStem

SMALL = {"base": 16, "widths": (16, 32, 16, 16, 8)}


def test_tokens_are_a_twelfth_and_features_a_quarter_of_the_frame():
    tokens, features = SoftSplitStem(24, **SMALL)(torch.randn(2, 3, 3, 60, 84))
    assert tokens.shape == (2, 3, 5, 7, 24)
    assert features.shape == (2, 3, 15, 21, 8)


def test_each_group_of_the_hierarchy_sees_its_part_of_the_first_features_and_of_the_current_ones():
    stem = SoftSplitStem(24, **SMALL)
    frames = torch.randn(1, 2, 3, 16, 16)
    first = stem.first(frames[0])
    maps = F.leaky_relu(stem.hierarchy[0](first), 0.2)
    for conv, groups in zip(stem.hierarchy[1:], (2, 4, 8, 1), strict=True):
        halves = first.unflatten(1, (groups, -1)), maps.unflatten(1, (groups, -1))
        maps = F.leaky_relu(conv(torch.cat(halves, dim=2).flatten(1, 2)), 0.2)
    torch.testing.assert_close(stem(frames).features[0].permute(0, 3, 1, 2), maps)


def test_recomputing_and_inference_give_the_same():
    stem, frames = SoftSplitStem(24, **SMALL), torch.randn(1, 3, 3, 24, 28)
    expected = stem(frames)
    stem.recompute = True
    recomputed = stem(frames)
    with torch.no_grad():
        inferred = stem(frames)
    for results in (recomputed, inferred):
        for one, other in zip(results, expected, strict=True):
            torch.testing.assert_close(one, other)


def test_the_masks_may_be_a_fourth_plane():
    network = InpaintingGenerator(
        SoftSplitStem(24, inputs=4, **SMALL),
        SpatioTemporalTransformer(24, blocks=1),
        SoftCompositionDecoder(24, features=8, hidden=4),
        mask_input=True,
    )
    frames, masks = torch.rand(1, 2, 3, 18, 22), torch.ones(1, 2, 1, 18, 22)
    assert not torch.equal(network(frames, masks).frames, network(frames, 0 * masks).frames)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (16, 16)}, "channels of 5 layers, got"),
        ({"widths": (16, 30, 16, 16, 8)}, r"widths\[1\]=30 and base=256 must be divisible by 2 and 4"),
        ({"base": 12, "widths": (16, 32, 16, 16, 8)}, "base=12"),
    ],
)
def test_widths_that_do_not_fit_the_groups_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        SoftSplitStem(24, **options)
