"""The losses on values that can be worked out by hand."""

import torch

from lightvid.losses import hinge_discriminator_loss, hinge_generator_loss, region_l1


def test_region_l1_is_the_mean_distance_inside_the_region_times_the_channel_mean():
    truth = torch.zeros(1, 2, 3, 4, 4)
    prediction = torch.full_like(truth, 0.5)
    masks = torch.zeros(1, 2, 1, 4, 4)
    masks[..., :2, :] = 1
    # mean|(p - x) m| = 0.5 * 1/2 and mean(m) = 1/2
    assert torch.isclose(region_l1(prediction, truth, masks), torch.tensor(0.5))


def test_what_lies_outside_the_region_does_not_count():
    truth = torch.zeros(1, 1, 3, 4, 4)
    prediction = truth.clone()
    prediction[..., 3, :] = 9
    masks = torch.zeros(1, 1, 1, 4, 4)
    masks[..., 0, :] = 1
    assert region_l1(prediction, truth, masks) == 0
    assert region_l1(prediction, truth, 1 - masks) > 0


def test_an_empty_region_gives_zero_with_a_finite_gradient():
    prediction = torch.ones(1, 1, 3, 4, 4, requires_grad=True)
    loss = region_l1(prediction, torch.zeros_like(prediction), torch.zeros(1, 1, 1, 4, 4))
    loss.backward()
    assert loss == 0
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_losses_are_float32_even_for_half_precision_predictions():
    prediction = torch.ones(1, 1, 3, 4, 4, dtype=torch.bfloat16)
    assert region_l1(prediction, torch.zeros(1, 1, 3, 4, 4), torch.ones(1, 1, 1, 4, 4)).dtype == torch.float32
    assert hinge_generator_loss(prediction).dtype == torch.float32


def test_hinge_losses_by_hand():
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-3.0, 0.5])
    # relu(1 - real) = 0.5, 0; relu(1 + fake) = 0, 1.5
    assert torch.isclose(hinge_discriminator_loss(real, fake), torch.tensor((0.25 + 0.75) / 2))
    assert torch.isclose(hinge_generator_loss(fake), torch.tensor(1.25))
