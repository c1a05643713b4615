"""I3D: its size, its padding, its two ways to normalise, and its published names."""

import pytest
import torch

from lightvid.checkpoints import load
from lightvid.errors import CheckpointError
from lightvid.networks.i3d import I3D, MaxPoolSame, Unit3D


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return I3D().eval()


def published(network):
    """A file's tensors: the layers, and a classifier of 400 classes."""
    tensors = {name.removeprefix("stages."): tensor.clone() for name, tensor in network.state_dict().items()}
    return {**tensors, "logits.conv3d.weight": torch.rand(400, 1024, 1, 1, 1), "logits.conv3d.bias": torch.rand(400)}


def test_it_has_the_published_parameters(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 12_287_264


@pytest.mark.parametrize("shape", [(1, 33, 50), (9, 32, 32), (16, 64, 40)])
def test_clips_of_any_length_and_size_give_1024_features(network, shape):
    frames, height, width = shape
    with torch.no_grad():
        features = network(torch.rand(2, frames, 3, height, width))
    assert features.shape == (2, 1024)
    assert features.isfinite().all()


def test_padding_depends_on_the_size_and_puts_the_odd_one_at_the_end():
    unit = Unit3D(1, 1, (1, 1, 3), stride=(1, 1, 2)).eval()
    unit.conv3d.weight.data[:] = torch.tensor([1.0, 10.0, 100.0])
    with torch.no_grad():
        even = unit(torch.ones(1, 1, 1, 1, 6)).flatten() * (1 + 1e-3) ** 0.5
        odd = unit(torch.ones(1, 1, 1, 1, 5)).flatten() * (1 + 1e-3) ** 0.5
    torch.testing.assert_close(even, torch.tensor([111.0, 111.0, 11.0]))
    torch.testing.assert_close(odd, torch.tensor([110.0, 111.0, 11.0]))


def test_pooling_pads_with_zeros():
    pool = MaxPoolSame((1, 1, 3), (1, 1, 2))
    assert pool(torch.full((1, 1, 1, 1, 4), -1.0)).flatten().tolist() == [-1, 0]


def test_statistics_of_the_batch_are_those_of_training_and_leave_the_stored_ones_alone(network):
    other = I3D(batch_statistics=True)
    other.load_state_dict(network.state_dict())
    stored = {name: buffer.clone() for name, buffer in other.named_buffers()}
    trained = I3D().train()
    trained.load_state_dict(network.state_dict())
    clip = torch.rand(1, 8, 3, 32, 40)
    with torch.no_grad():
        expected = trained(clip)
        torch.testing.assert_close(other.train()(clip), expected)
        torch.testing.assert_close(other.eval()(clip), expected)
        assert not torch.allclose(network(clip), expected)
    assert all(torch.equal(buffer, stored[name]) for name, buffer in other.named_buffers())


@pytest.mark.parametrize("counters", [True, False])
def test_a_published_file_fills_it_whatever_version_wrote_it(network, counters, tmp_path):
    tensors = {n: t for n, t in published(network).items() if counters or "num_batches_tracked" not in n}
    assert {
        "Conv3d_1a_7x7.conv3d.weight",
        "Mixed_4f.b2b.bn.running_var",
        "Mixed_5c.b3b.conv3d.weight",
        "Mixed_3b.b0.bn.weight",
    } <= set(tensors)
    torch.save(tensors, tmp_path / "i3d_rgb_imagenet.pt")
    loaded = load("i3d", tmp_path / "i3d_rgb_imagenet.pt", batch_statistics=True)
    assert loaded.checkpoint_report.complete
    assert torch.equal(loaded.stages["Mixed_5b"].b1b.conv3d.weight, network.stages["Mixed_5b"].b1b.conv3d.weight)


def test_another_file_is_refused():
    with pytest.raises(CheckpointError, match="none of its 1 tensors"):
        load("i3d", {"conv1.weight": torch.rand(3)})
