import pytest
import torch
from torch.nn import functional as F

from lightvid.backbone import FusionFeedForward
from lightvid.errors import ConfigurationError
from lightvid.profiling import flops, peak_bytes


def as_published(layer, x):
    """F3N step by step: linear, fold, divide by the overlap, unfold, activation, linear."""
    height, width = x.shape[2:4]
    size, grid = (3 * height, 3 * width), {"kernel_size": 7, "stride": 3, "padding": 3}
    patches = layer.linear1(x.flatten(0, 1).flatten(1, 2)).mT
    count = F.fold(F.unfold(x.new_ones(1, 1, *size), **grid), size, **grid)
    patches = F.unfold(F.fold(patches, size, **grid) / count, **grid)
    activation = F.relu if layer.activation == "relu" else F.gelu
    return layer.linear2(activation(patches.mT)).view(x.shape)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_it_is_the_published_function_with_the_published_weights(activation):
    layer = FusionFeedForward(16, hidden=4, activation=activation).double()
    x = torch.randn(2, 3, 4, 5, 16, dtype=torch.float64, requires_grad=True)
    results = layer(x), as_published(layer, x)
    torch.testing.assert_close(*results)
    inputs = [x, *layer.parameters()]
    gradients = (torch.autograd.grad(result.square().sum(), inputs) for result in results)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_without_gradients_it_is_the_same():
    layer, x = FusionFeedForward(16, hidden=4), torch.randn(1, 2, 3, 4, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), as_published(layer, x))


def test_the_published_size_costs_what_was_published_in_far_less_memory():
    with torch.device("meta"):
        layer, x = FusionFeedForward(512), torch.empty(1, 8, 20, 36, 512)
    multiply_adds = 2 * 8 * 720 * 512 * 1960
    assert flops(lambda: layer(x)) / 2 == pytest.approx(multiply_adds, rel=0.01)
    with torch.no_grad():
        assert peak_bytes(lambda: layer(x)) < 0.6 * peak_bytes(lambda: as_published(layer, x))


def test_frames_do_not_see_each_other_but_neighbouring_tokens_do():
    layer, x = FusionFeedForward(8, hidden=2), torch.zeros(1, 2, 5, 5, 8, requires_grad=True)
    reached = torch.autograd.grad(layer(x)[0, 0, 2, 2].sum(), x)[0].abs().sum(-1)[0]
    assert reached[0, 2, 1] > 0
    assert reached[0, 2, 4] > 0  # two patches of 7 pixels, 3 apart, share pixels up to two tokens away
    assert not reached[1].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"activation": "tanh"}, "choose one of relu, gelu"), ({"kernel": 4}, "odd kernel"), ({"stride": 8}, "stride=8")],
)
def test_a_wrong_choice_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        FusionFeedForward(8, **options)
