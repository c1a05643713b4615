"""The generator of DSTT (Liu et al., 2021), as released in `dstt.pth`."""

from __future__ import annotations

from typing import Any

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.naming import ATTENTION, DECODER, expand
from lightvid.networks import InpaintingGenerator, dstt

_BLOCK = {**ATTENTION, "ffn.conv.0": "feed_forward.linear1", "ffn.conv.3": "feed_forward.linear2"}
_ENDS = {
    **{f"encoder.{index}": f"stem.first.{index}" for index in (0, 2, 4, 6)},
    **{f"hier_enc.layers.{2 * index}": f"stem.hierarchy.{index}" for index in range(5)},
    "patch2vec": "stem.split",
    "vec2patch.embedding": "head.composition",
    **DECODER,
}


def create(tensors: Tensors, **options: Any) -> InpaintingGenerator:
    """The network for a file; options as for `lightvid.networks.dstt`."""
    return dstt(**options)


def names(network: InpaintingGenerator) -> dict[str, str]:
    """Published name -> name in the network."""
    return expand(_ENDS, _BLOCK, len(network.backbone.blocks))
