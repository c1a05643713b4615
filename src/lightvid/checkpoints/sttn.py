"""The generator of STTN (Zeng et al., ECCV 2020), as released in `sttn.pth`."""

from __future__ import annotations

from typing import Any

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.naming import expand
from lightvid.networks import InpaintingGenerator, sttn

_BLOCK = {
    "attention.query_embedding": "mixer.query",
    "attention.key_embedding": "mixer.key",
    "attention.value_embedding": "mixer.value",
    "attention.output_linear.0": "mixer.output",
    "feed_forward.conv.0": "feed_forward.conv1",
    "feed_forward.conv.2": "feed_forward.conv2",
}
_ENDS = {
    "encoder.0": "stem.layers.0",
    "encoder.2": "stem.layers.2",
    "encoder.4": "stem.layers.4",
    "encoder.6": "stem.layers.6",
    "decoder.0.conv": "head.layers.1",
    "decoder.2": "head.layers.3",
    "decoder.4.conv": "head.layers.6",
    "decoder.6": "head.layers.8",
}


def create(tensors: Tensors, **options: Any) -> InpaintingGenerator:
    """The network for a file; options as for `lightvid.networks.sttn`."""
    return sttn(**options)


def names(network: InpaintingGenerator) -> dict[str, str]:
    """Published name -> name in the network."""
    return expand(_ENDS, _BLOCK, len(network.backbone.blocks))
