"""Initial weights of transformers as DETR and VisTR publish them."""

from __future__ import annotations

from torch import nn

from lightvid.attention import FullAttention


def start_as_published(module: nn.Module) -> None:
    """Xavier-uniform matrices, and attention without biases (VisTR, Wang et al., CVPR 2021).

    A module with a start of its own, set by its method `init_weights`, keeps that.

    Args:
        module: an encoder or decoder, changed in place.
    """
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    for layer in module.modules():
        if isinstance(layer, FullAttention):
            for linear in (layer.query, layer.key, layer.value, layer.output):
                nn.init.zeros_(linear.bias)
        if callable(own_start := getattr(layer, "init_weights", None)):
            own_start()
