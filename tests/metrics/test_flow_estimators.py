"""Flow for E_warp from what the user has."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.metrics.flow_estimators import flow_estimator, network_estimator
from lightvid.stems import SPyNet


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3)).astype(np.uint8)


def test_a_network_sees_colours_from_0_to_1_and_its_flow_is_in_pixels(frames):
    class Difference(nn.Module):
        def forward(self, first, second):
            return (second - first)[:, :2]

    flow = network_estimator("difference", Difference()).estimate(*frames)
    assert flow.shape == (40, 56, 2)
    np.testing.assert_allclose(flow, (frames[1].astype(float) - frames[0])[..., :2] / 255, atol=1e-6)


def test_spynet_comes_from_its_file(frames, tmp_path):
    network = SPyNet()
    names = {
        f"basic_module.{level}.basic_module.{layer}.conv.{kind}": f"levels.{level}.{2 * layer}.{kind}"
        for level in range(6)
        for layer in range(5)
        for kind in ("weight", "bias")
    }
    state = network.state_dict()
    torch.save({"state_dict": {name: state[mine] for name, mine in names.items()}}, tmp_path / "spynet.pth")
    estimator = flow_estimator(f"spynet={tmp_path / 'spynet.pth'}")
    first, second = (torch.from_numpy(frame).movedim(-1, 0)[None].float() / 255 for frame in frames)
    with torch.no_grad():
        expected = network(first, second)[0].movedim(0, -1)
    np.testing.assert_allclose(estimator.estimate(*frames), expected, atol=1e-5)
    assert estimator.name == "spynet"


class FakeRaft(nn.Module):
    """Takes what RAFT takes, and says that everything moves by 1/8 of the frame."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, first, second):
        height, width = first.shape[2:]
        assert height % 8 == width % 8 == 0 and min(height, width) >= 128
        assert first.min() >= -1 and first.max() <= 1 and first.min() < -0.5
        flow = torch.ones(1, 2, height, width) * torch.tensor([width / 8, height / 8]).view(2, 1, 1)
        return [torch.zeros_like(flow), flow]


def test_raft_works_at_sizes_that_it_takes_and_its_flow_is_scaled_back(frames, tmp_path, monkeypatch):
    fake = ModuleType("torchvision.models.optical_flow")
    fake.raft_large = FakeRaft
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", ModuleType("torchvision.models"))
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", fake)
    torch.save(FakeRaft().state_dict(), tmp_path / "raft.pth")
    flow = flow_estimator(f"raft={tmp_path / 'raft.pth'}").estimate(*frames)
    np.testing.assert_allclose(flow, np.broadcast_to([56 / 8, 40 / 8], (40, 56, 2)), rtol=1e-5)
    torch.save({"other": torch.rand(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other.pth: no weights of torchvision's raft_large"):
        flow_estimator(f"raft={tmp_path / 'other.pth'}")


def test_without_torchvision_raft_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    with pytest.raises(ConfigurationError, match=r"raft needs torchvision.*use spynet or dis"):
        flow_estimator("raft=raft.pth")


@pytest.mark.parametrize("choice", ["flownet2", "spynet", "raft=", "dis=file", ""])
def test_an_unknown_choice_names_the_known_ones(choice):
    with pytest.raises(ConfigurationError, match="choose dis, spynet=FILE or raft=FILE"):
        flow_estimator(choice)
