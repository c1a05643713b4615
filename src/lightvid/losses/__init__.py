"""Losses: pure functions of tensors. Weighting and logging live in the tasks."""

from lightvid.losses.adversarial import hinge_discriminator_loss, hinge_generator_loss
from lightvid.losses.reconstruction import region_l1

__all__ = ["hinge_discriminator_loss", "hinge_generator_loss", "region_l1"]
