"""Warping fetches along the flow; flows agree where nothing hides."""

import pytest
import torch

from lightvid.ops import flows_agree, warp


def flow_of(x, y, size=(5, 7), dtype=torch.float64):
    return torch.stack([torch.full(size, float(x), dtype=dtype), torch.full(size, float(y), dtype=dtype)])[None]


def test_whole_pixels_are_fetched_and_zeros_come_from_outside():
    x = torch.rand(1, 2, 5, 7, dtype=torch.float64)
    moved = warp(x, flow_of(2, -1))
    torch.testing.assert_close(moved[..., 1:, :5], x[..., :4, 2:])
    assert moved[..., 0, :].abs().max() < 1e-12 and moved[..., 5:].abs().max() < 1e-12


def test_border_continues():
    x = torch.rand(1, 1, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(warp(x, flow_of(100, 0), padding="border")[..., 3], x[..., -1])


def test_half_pixels_are_means_and_nearest_takes_one():
    x = torch.arange(7.0, dtype=torch.float64).expand(1, 1, 5, 7)
    torch.testing.assert_close(warp(x, flow_of(0.5, 0))[0, 0, 2, :6], x[0, 0, 2, :6] + 0.5)
    assert set(warp(x, flow_of(0.4, 0), mode="nearest").flatten().tolist()) == {0.0, 1, 2, 3, 4, 5, 6}


def test_gradients():
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = (0.3 + 0.2 * torch.rand(1, 2, 4, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (x, flow))


def test_half_precision_keeps_positions():
    x = torch.arange(3000.0).expand(1, 1, 1, 3000)
    moved = warp((x / 3000).half(), flow_of(1, 0, (1, 3000), torch.float32))
    torch.testing.assert_close(moved[..., :-1], (x / 3000).half()[..., 1:])
    assert moved.dtype == torch.float16


def test_opposite_flows_agree_but_where_they_leave_the_frame():
    agree = flows_agree(flow_of(2, 0), flow_of(-2, 0))[0, 0]
    assert agree[:, :5].all() and not agree[:, 5:].any()


def test_flows_that_do_not_come_back_disagree():
    assert not flows_agree(flow_of(2, 0), flow_of(0, 0)).any()
    assert flows_agree(flow_of(0.5, 0), flow_of(0, 0))[..., :6].all()  # 0.25 < 0.01 * 0.25 + 0.5


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"flow \(N, 2, H, W\)"):
        warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4, 2))
