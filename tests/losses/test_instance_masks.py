"""Mask losses on values that can be worked out by hand."""

import math

import pytest
import torch

from lightvid.errors import ConfigurationError
from lightvid.losses.instance_masks import (
    at_prediction,
    check_mask_size,
    dice_loss,
    mean_over_pixels,
    sigmoid_focal_loss,
)


def logit(probability):
    return torch.tensor(probability).logit()


def test_focal_loss_of_a_positive_and_a_negative():
    logits = torch.stack([logit(0.9), logit(0.9)])
    loss = sigmoid_focal_loss(logits, torch.tensor([1.0, 0.0]))
    expected = [-0.25 * 0.1**2 * math.log(0.9), -0.75 * 0.9**2 * math.log(0.1)]
    assert torch.allclose(loss, torch.tensor(expected), rtol=1e-4)


def test_focal_loss_without_focus_is_half_the_cross_entropy():
    logits, labels = torch.randn(20), torch.randint(0, 2, (20,)).float()
    loss = sigmoid_focal_loss(logits, labels, alpha=0.5, gamma=0.0)
    assert torch.allclose(2 * loss.mean(), torch.nn.functional.binary_cross_entropy_with_logits(logits, labels))


def test_focal_loss_of_extreme_logits_is_finite():
    logits = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1.0, 0.0])).sum()
    loss.backward()
    assert torch.isclose(loss, torch.tensor(200.0))  # 0.25 * 200 + 0.75 * 200
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_dice_loss_of_half_a_hit():
    probability = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    truth = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    logits = (probability - 0.5) * 200
    # 2 * 1 + 1 over 2 + 2 + 1
    assert torch.isclose(dice_loss(logits, truth, torch.ones(1, 4)), torch.tensor(1 - 3 / 5))
    # without the second pixel: 2 * 1 + 1 over 1 + 2 + 1
    assert torch.isclose(dice_loss(logits, truth, torch.tensor([[1.0, 0, 1, 1]])), torch.tensor(1 - 3 / 4))


def test_pixels_without_weight_do_not_enter_the_mean():
    values, weight = torch.tensor([[1.0, 3.0], [5.0, 100.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert mean_over_pixels(values, weight) == 3
    assert mean_over_pixels(values, torch.zeros(2, 2)) == 0


def test_targets_at_the_predictions_resolution_are_shares_of_each_cells_valid_pixels():
    truth = torch.zeros(1, 1, 6, 8, dtype=torch.bool)
    truth[..., :2, :] = True  # half of the upper cells
    truth[..., 4:, :3] = True  # three quarters of what the frame has of the lower left cell
    shares, weight = at_prediction(truth, None)
    assert torch.equal(shares[0, 0], torch.tensor([[0.5, 0.5], [0.75, 0.0]]))
    assert torch.equal(weight[0, 0], torch.tensor([[1.0, 1.0], [0.5, 0.5]]))


def test_predicted_masks_that_are_not_at_a_quarter_are_refused():
    check_mask_size(torch.zeros(1, 1, 1, 3, 5), torch.zeros(1, 1, 9, 20))
    with pytest.raises(ConfigurationError, match="5x2 for frames of 20x9: expected a quarter, 5x3"):
        check_mask_size(torch.zeros(1, 1, 1, 2, 5), torch.zeros(1, 1, 9, 20))
