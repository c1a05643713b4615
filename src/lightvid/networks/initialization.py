"""Weight initialisation of the published inpainting networks."""

from __future__ import annotations

from typing import Literal

from torch import nn

Init = Literal["published", "default"]


def initialize(network: nn.Module, init: Init) -> None:
    """`published`: normal weights of deviation 0.02 and zero biases in all convolutions and linear maps, as STTN; else nothing."""
    if init == "default":
        return
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
