"""The reversible schemes give exactly the gradients of plain autograd on the same function."""

from functools import partial

import pytest
import torch
from torch import nn

from lightvid.attention import PatchAttention
from lightvid.backbone import ConvFeedForward, SpatioTemporalTransformer

FORMS = ("reversible", "reversible_split")


class DroppingFeedForward(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.inner = ConvFeedForward(channels)
        self.drop = nn.Dropout(0.3)

    def forward(self, x):
        return self.drop(self.inner(x))


def pair(form, dtype=torch.float64, blocks=3, feed_forward=ConvFeedForward, **options):
    """The same network, rebuilding its activations and keeping them."""
    make = partial(
        SpatioTemporalTransformer,
        8,
        blocks=blocks,
        mixer=partial(PatchAttention, divisions=(1, 2)),
        feed_forward=feed_forward,
        residual=form,
        **options,
    )
    rebuilding, keeping = make().to(dtype), make(recompute=False).to(dtype)
    keeping.load_state_dict(rebuilding.state_dict())
    return rebuilding, keeping


def step(network, x, seed=0):
    torch.manual_seed(seed)
    result = network(x)
    result.pow(3).sum().backward()
    return [result.detach(), torch.rand(())]


def assert_same_gradients(rebuilding, keeping, **tolerance):
    for (name, one), (_, other) in zip(rebuilding.named_parameters(), keeping.named_parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(one.grad, other.grad, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", ["none", "pre"])
def test_gradients_equal_those_of_plain_autograd(form, norm):
    networks = pair(form, norm=norm)
    inputs = [torch.randn(2, 2, 4, 6, 8, dtype=torch.float64)] * 2
    inputs = [x.clone().requires_grad_() for x in inputs]
    results = [step(network, x)[0] for network, x in zip(networks, inputs, strict=True)]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    assert_same_gradients(*networks)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_is_replayed_and_the_random_stream_goes_on_as_usual(form):
    networks = pair(form, feed_forward=DroppingFeedForward)
    x = torch.randn(1, 2, 4, 4, 8, dtype=torch.float64)
    (one, next_one), (other, next_other) = (step(network, x) for network in networks)
    torch.testing.assert_close(one, other)
    assert_same_gradients(*networks)
    assert next_one == next_other


def test_gradients_accumulate_over_several_steps():
    networks = pair("reversible", feed_forward=DroppingFeedForward)
    for seed in range(3):
        x = torch.randn(1, 2, 4, 4, 8, dtype=torch.float64)
        for network in networks:
            step(network, x, seed)
    assert_same_gradients(*networks)


def test_two_forward_passes_before_a_backward_pass_do_not_mix():
    networks = pair("reversible")
    first, second = torch.randn(2, 1, 2, 4, 4, 8, dtype=torch.float64)
    for network in networks:
        (network(first).square().sum() + network(second).pow(3).sum()).backward()
    assert_same_gradients(*networks)


def test_a_retained_graph_can_be_walked_again():
    network, _ = pair("reversible")
    x = torch.randn(1, 2, 4, 4, 8, dtype=torch.float64, requires_grad=True)
    loss = network(x).square().sum()
    inputs = [x, *network.parameters()]
    once = torch.autograd.grad(loss, inputs, retain_graph=True)
    twice = torch.autograd.grad(loss, inputs)
    assert all(map(torch.equal, once, twice))


def test_frozen_parameters_take_no_gradient_and_the_others_keep_theirs():
    networks = pair("reversible")
    x = torch.randn(1, 2, 4, 4, 8, dtype=torch.float64)
    for network in networks:
        network.blocks[1].mixer.requires_grad_(False)
        step(network, x)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_a_branch_that_passes_its_input_through_does_not_spoil_gradients():
    networks = pair("reversible", feed_forward=lambda channels: nn.Identity())
    x = torch.randn(1, 2, 4, 4, 8, dtype=torch.float64)
    for network in networks:
        step(network, x)
    assert_same_gradients(*networks)


def test_second_derivatives_are_refused():
    network, _ = pair("reversible")
    x = torch.randn(1, 1, 2, 2, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backward_inside", [False, True])
def test_under_autocast_the_streams_stay_float32_and_gradients_agree(form, backward_inside):
    networks = pair(form, torch.float32)
    x = torch.randn(1, 2, 4, 6, 8)
    for network in networks:
        with torch.autocast("cpu", torch.bfloat16):
            result = network(x)
            loss = result.float().square().sum()
            if backward_inside:
                loss.backward()
        if not backward_inside:
            loss.backward()
        assert result.dtype == torch.float32
    assert_same_gradients(*networks, rtol=1e-2, atol=5e-2)


@pytest.mark.parametrize("form", FORMS)
def test_a_network_wholly_in_bfloat16_runs_and_answers_in_bfloat16(form):
    rebuilding, _ = pair(form, torch.bfloat16)
    x = torch.randn(1, 2, 4, 6, 8, dtype=torch.bfloat16)
    assert step(rebuilding, x)[0].dtype == torch.bfloat16
    with torch.no_grad():
        assert rebuilding(x).dtype == torch.bfloat16


def test_each_branch_runs_once_forward_and_once_backward():
    network, _ = pair("reversible", blocks=2)
    calls = []
    for block in network.blocks:
        block.mixer.register_forward_hook(lambda *_: calls.append("mixer"))
        block.feed_forward.register_forward_hook(lambda *_: calls.append("feed_forward"))
    step(network, torch.randn(1, 1, 4, 4, 8, dtype=torch.float64))
    assert calls == ["mixer", "feed_forward"] * 2 + ["feed_forward", "mixer"] * 2


def test_the_input_is_rebuilt_through_many_unnormalised_blocks():
    networks = pair("reversible", torch.float32, blocks=12)
    x = torch.randn(1, 2, 4, 4, 8)
    for network in networks:
        step(network, x)
    assert_same_gradients(*networks, rtol=1e-3, atol=1e-2)
