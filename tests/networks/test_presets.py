import logging

import pytest
import torch

from lightvid.attention import SpatialAttention, TemporalAttention
from lightvid.backbone.block import TokenContext
from lightvid.networks import dstt, fuseformer
from lightvid.profiling import flops


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def small(make, **options):
    return make(blocks=2, **options)


def clip(height, width, frames=2):
    return torch.rand(1, frames, 3, height, width) * 2 - 1, torch.ones(1, frames, 1, height, width)


@pytest.mark.parametrize(
    ("make", "count", "multiply_adds"), [(dstt, 34_529_155, 452.6e9), (fuseformer, 36_591_299, 751.4e9)]
)
def test_the_published_number_of_parameters_and_cost(make, count, multiply_adds):
    with torch.device("meta"):
        network, frames, masks = make(), torch.empty(1, 8, 3, 240, 432), torch.empty(1, 8, 1, 240, 432)
    assert parameters(network) == count
    with torch.no_grad():
        assert flops(lambda: network(frames, masks)) / 2 == pytest.approx(multiply_adds, rel=2e-3)


def test_dstt_looks_through_time_and_through_space_in_turns():
    with torch.device("meta"):
        kinds = [type(block.mixer) for block in dstt().backbone.blocks]
    assert kinds == [TemporalAttention, SpatialAttention] * 4


def test_the_released_dstt_takes_its_skip_connection_from_the_norm():
    released, figure = small(dstt), small(dstt, residual_from_norm=False)
    figure.load_state_dict(released.state_dict())
    x = torch.randn(1, 2, 2, 3, 512)
    block = released.backbone.blocks[0]
    normed = block.mixer_norm(x)
    middle = normed + block.mixer(normed, None)
    torch.testing.assert_close(block(x, TokenContext()), middle + block.feed_forward(block.feed_forward_norm(middle)))
    middle = x + block.mixer(normed, None)
    block = figure.backbone.blocks[0]
    torch.testing.assert_close(block(x, TokenContext()), middle + block.feed_forward(block.feed_forward_norm(middle)))


@pytest.mark.parametrize("make", [dstt, fuseformer])
@pytest.mark.parametrize("size", [(44, 52), (33, 47), (8, 100)])
def test_any_frame_size_works_and_inference_gives_what_training_gives(make, size):
    network = small(make)
    frames, masks = clip(*size)
    trained = network(frames, masks).frames
    assert trained.shape == frames.shape
    with torch.no_grad():
        torch.testing.assert_close(network(frames, masks).frames, trained, rtol=1e-4, atol=1e-5)


def test_fuseformer_says_in_one_line_each_what_it_interpolates(caplog):
    network = small(fuseformer)
    with caplog.at_level(logging.INFO, "lightvid"), torch.no_grad():
        for _ in range(2):
            network(*clip(48, 96))
    assert [record.getMessage() for record in caplog.records] == [
        "positions of 20x36 tokens interpolated to 4x8",
        "bias map of 60x108 features interpolated to 12x24",
    ]


@pytest.mark.parametrize("make", [dstt, fuseformer])
def test_checkpointed_blocks_and_recomputed_ends_give_the_same_gradients(make):
    networks = small(make), small(make, residual="checkpoint", recompute_ends=True)
    networks[1].load_state_dict(networks[0].state_dict())
    frames, masks = clip(24, 32)
    for network in networks:
        network(frames, masks).frames.square().sum().backward()
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)
