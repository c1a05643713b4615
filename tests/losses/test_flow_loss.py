"""The flow that networks are to complete, and how far they are from it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.losses import DISTeacher, SPyNetTeacher, flow_l1
from lightvid.stems import SPyNet, thumbnails
from lightvid.stems.spynet import spynet_names


@pytest.fixture(scope="module")
def spynet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the layout of the published file."""
    torch.manual_seed(0)
    network = SPyNet()
    state = network.state_dict()
    path = tmp_path_factory.mktemp("weights") / "spynet.pth"
    torch.save({"state_dict": {published: state[mine] for published, mine in spynet_names(network).items()}}, path)
    return path


def moving_clip(shift: tuple[int, int], length: int = 3) -> torch.Tensor:
    """A smooth texture that moves by (right, down) pixels a frame, `(1, length, 3, 64, 96)` in [-1, 1]."""
    texture = np.random.default_rng(0).uniform(0, 255, (160, 200, 3)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(texture, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    crops = [texture[40 - t * shift[1] :, 50 - t * shift[0] :][:64, :96] for t in range(length)]
    return torch.from_numpy(np.stack(crops)).movedim(-1, 1).unsqueeze(0) / 127.5 - 1


def test_the_loss_is_the_mean_distance_of_each_direction_added_up():
    flows = torch.full((2, 4, 2, 3, 5), 1.5), torch.full((2, 4, 2, 3, 5), -1.0)
    targets = torch.ones(2, 4, 2, 3, 5), torch.zeros(2, 4, 2, 3, 5)
    assert torch.isclose(flow_l1(flows, targets), torch.tensor(0.5 + 1.0))


def test_flow_of_what_a_network_has_added_to_its_frames_does_not_count():
    targets = torch.randn(1, 2, 2, 4, 6), torch.randn(1, 2, 2, 4, 6)
    flows = tuple(torch.nn.functional.pad(target, (0, 3, 0, 2), value=99.0) for target in targets)
    assert flow_l1(flows, targets) == 0


def test_the_loss_is_float32_for_flows_of_half_precision():
    flows = torch.full((1, 1, 2, 8, 8), 0.1, dtype=torch.bfloat16)
    assert flow_l1((flows, flows), (torch.zeros(1, 1, 2, 8, 8),) * 2).dtype == torch.float32


@pytest.mark.parametrize("shift", [(4, 0), (0, -4), (-3, 2)])
def test_dense_inverse_search_finds_a_motion_in_pixels_of_quarter_size(shift):
    forward, backward = DISTeacher()(moving_clip(shift))
    assert forward.shape == backward.shape == (1, 2, 2, 16, 24)
    inner = forward[..., 4:-4, 4:-4], backward[..., 4:-4, 4:-4]
    expected = torch.tensor(shift) / 4
    for flow, direction in zip(inner, (1, -1), strict=True):
        assert torch.allclose(flow.mean((0, 1, 3, 4)), direction * expected, atol=0.06)


def test_a_published_network_sees_consecutive_frames_in_both_directions(spynet_file):
    frames = moving_clip((4, 2)).expand(2, -1, -1, -1, -1)
    forward, backward = SPyNetTeacher(str(spynet_file))(frames)
    network = SPyNet(weights=str(spynet_file))
    small = (thumbnails(frames) + 1) / 2
    for step in range(2):
        assert torch.allclose(forward[:, step], network(small[:, step], small[:, step + 1]), atol=1e-5)
        assert torch.allclose(backward[:, step], network(small[:, step + 1], small[:, step]), atol=1e-5)


@pytest.mark.parametrize("name", ["dis", "spynet"])
def test_a_teacher_gives_float32_without_gradients_at_any_precision(name, spynet_file):
    teacher = DISTeacher() if name == "dis" else SPyNetTeacher(str(spynet_file))
    frames = moving_clip((3, 0)).requires_grad_()
    plain = teacher(frames)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = teacher(frames)
    for flow, other in zip(plain, mixed, strict=True):
        assert other.dtype == torch.float32
        assert not flow.requires_grad
        assert torch.equal(flow, other)


def test_a_published_teacher_without_its_file_says_which_and_what_else_there_is(tmp_path):
    with pytest.raises(ConfigurationError, match=r"spynet_20210409-c6c1bd09\.pth.*DISTeacher") as caught:
        SPyNetTeacher()
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="nowhere"):
        SPyNetTeacher(str(tmp_path / "nowhere.pth"))
