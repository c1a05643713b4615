"""The generator of FuseFormer (Liu et al., ICCV 2021), as released in `fuseformer.pth`."""

from __future__ import annotations

from typing import Any

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.naming import ATTENTION, DECODER, expand
from lightvid.errors import CheckpointError
from lightvid.networks import InpaintingGenerator, fuseformer

_BIAS_MAP = "sc.bias"
_BLOCK = {**ATTENTION, "ffn.conv1.0": "feed_forward.linear1", "ffn.conv2.2": "feed_forward.linear2"}
_ENDS = {
    **{f"encoder.layers.{index}": f"stem.first.{index}" for index in (0, 2, 4, 6)},
    **{f"encoder.layers.{8 + 2 * index}": f"stem.hierarchy.{index}" for index in range(5)},
    "ss.embedding": "stem.split",
    "sc.embedding": "head.composition",
    **DECODER,
}


def create(tensors: Tensors, **options: Any) -> InpaintingGenerator:
    """The network for a file, its positions and bias map of the file's size; options as for `networks.fuseformer`."""
    if _BIAS_MAP in tensors:
        if tensors[_BIAS_MAP].ndim != 3:
            raise CheckpointError(f"{_BIAS_MAP} must be (channels, H, W), got {tuple(tensors[_BIAS_MAP].shape)}")
        height, width = tensors[_BIAS_MAP].shape[1:]
        options = {"features": (height, width), **options}
    return fuseformer(**options)


def names(network: InpaintingGenerator) -> dict[str, str]:
    """Published name -> name in the network."""
    table = expand(_ENDS, _BLOCK, len(network.backbone.blocks))
    return {**table, _BIAS_MAP: "head.bias_map", "add_pos_emb.pos_emb": "backbone.positions.table"}
