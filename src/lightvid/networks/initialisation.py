"""Initial weights as the inpainting papers publish them."""

from __future__ import annotations

from typing import Literal

from torch import nn

Initialisation = Literal["published", "default"]


def initialise(module: nn.Module, init: Initialisation) -> None:
    """Draw the weights of every convolution and linear layer from N(0, 0.02) and set their biases to 0.

    A module with a start of its own, set by its method `init_weights`, keeps that.

    Args:
        module: changed in place.
        init: "published" as above; "default" leaves PyTorch's own initialisation.
    """
    if init == "default":
        return
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in module.modules():
        if callable(own_start := getattr(layer, "init_weights", None)):
            own_start()
