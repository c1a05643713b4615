"""Hinge adversarial losses of the T-PatchGAN (Chang et al., ICCV 2019; STTN, Zeng et al., ECCV 2020, Eq. 6-7)."""

from torch import Tensor
from torch.nn.functional import relu


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """`(mean relu(1 - D(x)) + mean relu(1 + D(c))) / 2` over scores of any shape."""
    return (relu(1 - real.float()).mean() + relu(1 + fake.float()).mean()) / 2


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """`-mean D(c)` over scores of any shape."""
    return -fake.float().mean()
