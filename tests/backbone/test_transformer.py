from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser

from lightvid.attention import PatchAttention
from lightvid.backbone import MLP, ConvFeedForward, LearnedPositions, SpatioTemporalTransformer
from lightvid.errors import ConfigurationError

SCHEMES = ("additive", "checkpoint", "reversible", "reversible_split")


def make(residual, channels=8, blocks=3, **options):
    options.setdefault("mixer", partial(PatchAttention, divisions=(1, 2)))
    return SpatioTemporalTransformer(channels, blocks=blocks, residual=residual, **options)


def gradients(network, x):
    result = network(x)
    return [result, *torch.autograd.grad(result.square().sum(), [x, *network.parameters()])]


class Halving(torch.nn.Module):
    def __init__(self, width, positioned=False):
        super().__init__()
        self.positioned = positioned

    def forward(self, tokens, holes, **more):
        return tokens[..., ::2]


@pytest.mark.parametrize("residual", SCHEMES)
@pytest.mark.parametrize("positioned", [False, True])
def test_a_mixer_that_changes_the_shape_is_named(residual, positioned):
    network = make(residual, mixer=partial(Halving, positioned=positioned))
    with pytest.raises(ConfigurationError, match=r"^Halving makes \(1, 2, 4, 4, \d\) of tokens .*keeps the shape"):
        network(torch.randn(1, 2, 4, 4, 8))


def test_one_additive_block_is_the_sum_of_its_branches():
    network = make("additive", blocks=1)
    x = torch.randn(1, 2, 4, 4, 8)
    block = network.blocks[0]
    middle = x + block.mixer(x)
    torch.testing.assert_close(network(x), middle + block.feed_forward(middle))


def test_checkpoint_is_the_additive_network_with_the_same_gradients():
    x = torch.randn(1, 2, 4, 6, 8, requires_grad=True)
    additive, checkpoint = make("additive"), make("checkpoint")
    checkpoint.load_state_dict(additive.state_dict())
    for one, other in zip(gradients(additive, x), gradients(checkpoint, x), strict=True):
        torch.testing.assert_close(one, other)


def test_weights_have_the_same_names_under_every_scheme():
    names = [set(make(scheme, norm="pre").state_dict()) for scheme in SCHEMES]
    assert all(other == names[0] for other in names)
    make("reversible").load_state_dict(make("additive").state_dict())
    assert {"blocks.0.mixer_norm.weight", "blocks.2.feed_forward_norm.bias"} <= names[0]
    assert not any("norm" in name for name in make("additive").state_dict())


@pytest.mark.parametrize("norm", ["none", "pre"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_inference_gives_what_training_gives_and_leaves_its_input_alone(scheme, norm):
    network = make(scheme, norm=norm)
    x = torch.randn(2, 2, 3, 5, 8)
    before = x.clone()
    with torch.no_grad():
        lean = network(x)
    assert torch.equal(x, before)
    torch.testing.assert_close(lean, network(x))


def test_inference_may_be_given_its_inputs_memory():
    network = make("additive")
    x = torch.randn(1, 2, 4, 4, 8)
    expected = network(x)
    with torch.no_grad():
        result = network(x, overwrite_x=True)
    assert result.data_ptr() == x.data_ptr()
    torch.testing.assert_close(result, expected)


def test_a_feed_forward_in_chunks_is_the_same_function():
    x = torch.randn(2, 3, 4, 4, 8, requires_grad=True)
    whole, chunked = ConvFeedForward(8, hidden=12), ConvFeedForward(8, hidden=12, chunks=4)
    chunked.load_state_dict(whole.state_dict())
    for one, other in zip(gradients(whole, x), gradients(chunked, x), strict=True):
        torch.testing.assert_close(one, other)


def test_holes_reach_the_mixers():
    network = make("additive", mixer=partial(PatchAttention, divisions=(1, 2), mask_keys=True))
    x, holes = torch.randn(1, 2, 4, 4, 8), torch.zeros(1, 2, 4, 4)
    holes[:, 0] = 1
    for scheme in SCHEMES[:3]:
        network.residual = scheme
        assert not torch.allclose(network(x, holes), network(x))


def test_mixers_and_feed_forwards_come_from_a_configuration():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SpatioTemporalTransformer, "backbone")
    tree = {
        "class_path": "lightvid.backbone.SpatioTemporalTransformer",
        "init_args": {
            "channels": 12,
            "blocks": 2,
            "residual": "reversible_split",
            "mixer": {"class_path": "lightvid.attention.PatchAttention", "init_args": {"divisions": [1, 2, 4]}},
            "feed_forward": {"class_path": "lightvid.backbone.ConvFeedForward", "init_args": {"chunks": 2}},
        },
    }
    built = parser.instantiate_classes(parser.parse_object({"backbone": tree})).backbone
    assert [block.mixer.divisions for block in built.blocks] == [(1, 2, 4)] * 2
    assert built.blocks[0].feed_forward.chunks == 2
    assert built.blocks[0].mixer is not built.blocks[1].mixer
    assert built.blocks[0].mixer.query.weight.shape == (6, 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"residual": "reversibel"}, "unknown residual 'reversibel': choose one of additive, checkpoint"),
        ({"residual": "reversible_split", "channels": 9}, "9 is odd"),
        ({"residual": "additive", "norm": "last"}, "unknown norm 'last'"),
        ({"residual": "additive", "blocks": 0}, "at least one block"),
        ({"residual": "additive", "mixer": None}, "none of them null"),
        ({"residual": "additive", "mixer": []}, "a list of at least one"),
        ({"residual": "additive", "positions": LearnedPositions(6)}, "positions have 6 channels and the backbone 8"),
        ({"residual": "reversible", "norm": "pre", "residual_from_norm": True}, "set residual_from_norm=false"),
        ({"residual": "additive", "feed_forward": partial(MLP, hidden=0)}, "at least 1, got 0"),
        ({"residual": "additive", "feed_forward": partial(ConvFeedForward, chunks=0)}, "at least 1, got 0"),
    ],
)
def test_a_wrong_choice_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        make(**options)
    assert "\n" not in str(error.value)


def test_tokens_of_another_width_are_refused_by_shape():
    with pytest.raises(ValueError, match=r"expected tokens \(B, T, H, W, 8\), got \(1, 2, 4, 4, 6\)"):
        make("additive")(torch.randn(1, 2, 4, 4, 6))
