import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightvid.attention import deformable
from lightvid.attention.deformable import DeformableAttention
from lightvid.errors import ConfigurationError
from lightvid.profiling import flops, peak_bytes, saved_bytes

MODES = ["trilinear", "per_frame"]


def disturb(attention):
    """Points that depend on the token, as after training."""
    for layer in attention.sampling.children():
        nn.init.normal_(layer.weight, std=0.3)
    return attention


@pytest.mark.parametrize("mode", MODES)
def test_a_single_point_on_the_token_itself_is_the_two_projections(mode):
    attention = DeformableAttention(8, heads=2, points=1, mode=mode)
    nn.init.zeros_(attention.sampling.query.bias)
    x = torch.randn(2, 1 if mode == "per_frame" else 3, 4, 5, 8)
    torch.testing.assert_close(attention(x), attention.output(attention.value(x)))


def test_trilinear_points_are_those_of_the_paper():
    attention = disturb(DeformableAttention(6, heads=2, points=3))
    x = torch.randn(1, 3, 4, 5, 6)
    numbers = attention.sampling.query(x).view(3, 4, 5, 2, 3, 4)
    value = attention.value(x).view(3, 4, 5, 2, 3)
    heads = []
    for head in range(2):
        samples = 0
        attended = numbers[..., head, :, 3].softmax(-1)
        for point in range(3):
            t, y, x_ = torch.meshgrid(*(torch.arange(n) + 0.5 for n in (3, 4, 5)), indexing="ij")
            location = (torch.stack((x_, y, t), dim=-1) + numbers[..., head, point, :3]) / torch.tensor([5, 4, 3])
            maps = value[..., head, :].permute(3, 0, 1, 2)[None]
            sampled = F.grid_sample(maps, 2 * location[None] - 1, align_corners=False)[0].permute(1, 2, 3, 0)
            samples = samples + attended[..., point, None] * sampled
        heads.append(samples)
    torch.testing.assert_close(attention(x), attention.output(torch.cat(heads, dim=-1))[None])


def test_per_frame_points_depend_on_how_far_the_frame_is_not_on_where_the_clip_starts():
    attention = disturb(DeformableAttention(8, heads=2, points=2, mode="per_frame"))
    frame, other = torch.randn(2, 1, 1, 3, 4, 8)
    early = attention(torch.cat((frame, frame, other), dim=1))
    assert not torch.allclose(early[:, 0], early[:, 1])  # one and two frames from the other
    offsets, logits = attention.sampling(torch.cat((frame, frame, frame), dim=1), slice(0, 2))
    offsets, logits = offsets.unflatten(1, (3, -1)), logits.unflatten(1, (3, -1))
    torch.testing.assert_close(offsets[:, 0, ..., :2, :, :], offsets[:, 1, ..., 1:, :, :])
    torch.testing.assert_close(logits[:, 0, ..., :2, :], logits[:, 1, ..., 1:, :])


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 5, 7), (4, 3, 1), (7, 2, 3)])
@pytest.mark.parametrize("mode", MODES)
def test_any_size_works_also_single_images(mode, size):
    attention = DeformableAttention(8, heads=2, points=5, mode=mode)
    x = torch.randn(2, *size, 8)
    result = attention(x)
    assert result.shape == x.shape
    assert result.isfinite().all()


@pytest.mark.parametrize("mode", MODES)
def test_at_the_start_every_parameter_and_every_frame_gets_a_gradient(mode):
    attention = DeformableAttention(8, heads=4, points=5, mode=mode)
    x = torch.randn(1, 5, 6, 7, 8, requires_grad=True)
    attention(x)[:, 2, 3, 3].square().sum().backward()  # one token of the middle frame looks at all of them
    assert all(parameter.grad.abs().sum() > 0 for parameter in attention.parameters())
    assert (x.grad.abs().sum((0, 2, 3, 4)) > 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_heads_in_groups_give_what_all_at_once_give(mode, monkeypatch):
    attention = disturb(DeformableAttention(12, heads=3, points=2, mode=mode)).double()
    x = torch.randn(2, 3, 4, 5, 12, dtype=torch.float64, requires_grad=True)

    def result_and_gradients():
        result = attention(x)
        return result, torch.autograd.grad(result.square().sum(), [x, *attention.parameters()])

    expected = result_and_gradients()
    monkeypatch.setattr(deformable, "ELEMENTS_AT_ONCE", 1)
    torch.testing.assert_close(result_and_gradients(), expected)


@pytest.mark.parametrize("mode", MODES)
def test_inference_gives_what_training_gives(mode):
    attention = disturb(DeformableAttention(8, heads=2, points=3, mode=mode))
    x = torch.randn(1, 2, 4, 5, 8)
    with torch.no_grad():
        result = attention(x)
    torch.testing.assert_close(result, attention(x))


def test_holes_are_tokens_like_others():
    attention, x = DeformableAttention(8, heads=2, points=3), torch.randn(1, 2, 4, 5, 8)
    assert torch.equal(attention(x, torch.ones(1, 2, 4, 5)), attention(x))


@pytest.mark.parametrize("mode", MODES)
def test_bfloat16_is_close_to_float32_under_autocast_and_as_dtype(mode):
    attention = disturb(DeformableAttention(16, heads=2, points=4, mode=mode))
    x = torch.randn(1, 3, 8, 8, 16)
    expected = attention(x)
    with torch.autocast("cpu", torch.bfloat16):
        result = attention(x)
        result.float().square().sum().backward()
    assert result.dtype == torch.bfloat16
    assert all(parameter.grad.isfinite().all() for parameter in attention.parameters())
    assert (result.float() - expected).norm() <= 0.03 * expected.norm()
    result = attention.bfloat16()(x.bfloat16())
    assert (result.float() - expected).norm() <= 0.03 * expected.norm()


def counted(function, frames, *, mode="trilinear", size=(32, 32)):
    with torch.device("meta"):
        attention = DeformableAttention(32, heads=2, points=4, mode=mode)
        x = torch.empty(1, frames, *size, 32, requires_grad=True)
    return function(attention, x)


def step_flops(attention, x):
    return flops(lambda: attention(x).sum().backward())


def step_peak(attention, x):
    return peak_bytes(lambda: attention(x).sum().backward())


def kept(attention, x):
    return saved_bytes(lambda: attention(x), exclude=[x, *attention.parameters()])


def test_operations_per_token_are_constant_from_1_000_to_100_000_tokens():
    per_token = [counted(step_flops, frames) / (frames * 1024) for frames in (1, 10, 98)]
    assert max(per_token) <= 1.05 * min(per_token)


def test_memory_is_linear_in_the_tokens():
    assert counted(kept, 64) == 2 * counted(kept, 32)
    assert 1.95 <= counted(step_peak, 300) / counted(step_peak, 150) <= 2.05


@pytest.mark.parametrize("mode", MODES)
def test_only_the_sampled_features_are_kept_for_the_backward_pass(mode):
    features = 8 * 32 * 32 * 32 * 4
    assert counted(kept, 8, mode=mode) == features


def test_what_does_not_fit_is_refused_in_one_line():
    with pytest.raises(
        ConfigurationError, match="10 channels do not split into 8 equal heads: change channels or heads"
    ):
        DeformableAttention(10)
    with pytest.raises(ConfigurationError, match="unknown mode 'nearest': choose one of trilinear, per_frame"):
        DeformableAttention(8, mode="nearest")
    with pytest.raises(ConfigurationError, match="at least 1 head, point and frame, got 8, 0 and 5"):
        DeformableAttention(8, points=0)
