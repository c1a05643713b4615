"""Bars on exact byte counts at STTN's full size: 432x240 frames, 8 blocks of 256 channels, float32."""

import pytest
import torch

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.networks import sttn
from lightvid.profiling import flops, peak_bytes, saved_bytes

MIB = 2**20


def make(residual, blocks=8):
    with torch.device("meta"):
        network = SpatioTemporalTransformer(256, blocks=blocks, residual=residual)
        return network, torch.empty(1, 5, 60, 108, 256)


def saved(residual, blocks=8):
    network, x = make(residual, blocks)
    return saved_bytes(lambda: network(x), exclude=[x, *network.parameters()]) / MIB


def step_peak(residual, blocks=8):
    """With parameter gradients, without weights and input."""
    network, x = make(residual, blocks)
    return peak_bytes(lambda: network(x).sum().backward()) / MIB


def test_additive_keeps_nine_maps_a_block():
    assert saved("additive") == pytest.approx(2267.6, rel=0.02)


def test_checkpoint_keeps_the_input_of_each_block():
    assert saved("checkpoint") == pytest.approx(221.5, rel=0.02)


def test_reversible_keeps_two_maps_whatever_the_depth():
    assert saved("reversible", 2) == saved("reversible", 8) == saved("reversible", 32) == pytest.approx(63.3, rel=0.02)
    assert saved("reversible_split") == pytest.approx(31.6, rel=0.02)
    assert saved("additive") >= 30 * saved("reversible")


def test_a_reversible_step_grows_with_depth_by_parameter_gradients_only():
    network, _ = make("reversible", 1)
    gradients = sum(parameter.nbytes for parameter in network.parameters()) / MIB
    assert step_peak("reversible", 16) - step_peak("reversible", 8) == pytest.approx(8 * gradients, rel=0.02)


def test_the_peak_of_a_reversible_step():
    assert step_peak("reversible") <= 620
    assert step_peak("additive") >= 4 * step_peak("reversible")
    assert step_peak("reversible_split") < step_peak("reversible") < step_peak("checkpoint")


def test_rebuilding_costs_one_more_forward_pass():
    def cost(residual):
        network, x = make(residual)
        return flops(lambda: network(x.requires_grad_()).sum().backward())

    assert cost("reversible") == pytest.approx(cost("additive") * 4 / 3, rel=0.01)


def test_memory_grows_in_step_with_the_number_of_frames():
    network, _ = make("reversible")
    with torch.device("meta"):
        short, long = torch.empty(1, 5, 60, 108, 256), torch.empty(1, 10, 60, 108, 256)
    ratio = saved_bytes(lambda: network(long)) / saved_bytes(lambda: network(short))
    assert 1.8 < ratio < 2.05  # parameters count in both


@pytest.mark.parametrize(("frames", "bar"), [(13, 0.33), (60, 1.25)])
def test_the_whole_generator_infers_in_little_memory(frames, bar):
    with torch.device("meta"):
        network = sttn()
        video, masks = torch.empty(1, frames, 3, 240, 432), torch.empty(1, frames, 1, 240, 432)
    with torch.no_grad():
        assert peak_bytes(lambda: network(video, masks)) <= bar * 2**30
