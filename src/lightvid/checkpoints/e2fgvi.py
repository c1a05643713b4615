"""The generators of E2FGVI and E2FGVI-HQ (Li et al., CVPR 2022), as released in `E2FGVI-CVPR22.pth`, `...HQ-...`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.naming import DECODER, expand
from lightvid.errors import CheckpointError
from lightvid.networks import InpaintingGenerator, e2fgvi, e2fgvi_hq
from lightvid.stems.spynet import spynet_layout, spynet_names

_BIAS_MAP = "sc.bias"
_FLOW = "update_spynet."
_BLOCK = {
    "attn.qkv": "mixer.qkv",
    "attn.proj": "mixer.proj",
    "pool_layers.0": "mixer.pool",
    "norm1": "mixer_norm",
    "norm2": "feed_forward_norm",
    "mlp.conv1.0": "feed_forward.linear1",
    "mlp.conv2.1": "feed_forward.linear2",
}
_DIRECTIONS = {"backward_": "backward", "forward_": "forward"}
_PROPAGATION = {
    "feat_prop_module.fusion": "stem.propagation.fusion",
    **{
        f"feat_prop_module.backbone.{published}.{index}": f"stem.propagation.{mine}_update.{index}"
        for published, mine in _DIRECTIONS.items()
        for index in (0, 2)
    },
    **{
        f"feat_prop_module.deform_align.{published}{part}": f"stem.propagation.{mine}_alignment{own}"
        for published, mine in _DIRECTIONS.items()
        for part, own in [("", ""), *((f".conv_offset.{index}", f".offsets.{index}") for index in (0, 2, 4, 6))]
    },
}
_ENDS = {
    **{f"encoder.layers.{index}": f"stem.first.{index}" for index in (0, 2, 4, 6)},
    **{f"encoder.layers.{8 + 2 * index}": f"stem.hierarchy.{index}" for index in range(5)},
    **_PROPAGATION,
    "ss.embedding": "stem.split",
    "sc.embedding": "head.composition",
    "sc.bias_conv": "head.smoothing",
    **DECODER,
}


def create(tensors: Tensors, **options: Any) -> InpaintingGenerator:
    """The network for a file of E2FGVI, its bias map of the file's size; options as for `networks.e2fgvi`."""
    if _BIAS_MAP in tensors:
        if tensors[_BIAS_MAP].ndim != 3:
            raise CheckpointError(f"{_BIAS_MAP} must be (channels, H, W), got {tuple(tensors[_BIAS_MAP].shape)}")
        height, width = tensors[_BIAS_MAP].shape[1:]
        options = {"features": (height, width), **options}
    return e2fgvi(**options)


def create_hq(tensors: Tensors, **options: Any) -> InpaintingGenerator:
    """The network for a file of E2FGVI-HQ; options as for `networks.e2fgvi_hq`."""
    return e2fgvi_hq(**options)


def names(network: InpaintingGenerator) -> dict[str, str]:
    """Published name -> name in the network."""
    table = {**expand(_ENDS, _BLOCK, len(network.backbone.blocks)), _BIAS_MAP: "head.bias_map"}
    flow = spynet_names(network.stem.propagation.flow)  # type: ignore[union-attr, arg-type]
    table |= {f"{_FLOW}{name}": f"stem.propagation.flow.{mine}" for name, mine in flow.items()}
    own = network.state_dict()
    return {name: mine for name, mine in table.items() if mine in own}


def convert(tensors: Tensors) -> Tensors:
    """A file's tensors without its constants: the windows' surroundings, and SPyNet's mean and deviation.

    Raises:
        CheckpointError: windows of another size.
    """
    kept = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.valid_ind_rolled"):
            if not torch.equal(tensor.long(), _surroundings()):
                raise CheckpointError(f"{name}: not the surroundings of windows of 5x9 tokens, which E2FGVI has")
        elif not name.startswith(_FLOW):
            kept[name] = tensor
    flow = {name.removeprefix(_FLOW): tensor for name, tensor in tensors.items() if name.startswith(_FLOW)}
    return {**kept, **{f"{_FLOW}{name}": tensor for name, tensor in spynet_layout(flow).items()}}


def _surroundings() -> Tensor:
    """Where the four rolled copies of a 5x9 window hold tokens from outside of it, as the released code lists them."""
    rows, columns = torch.arange(5).view(-1, 1), torch.arange(9)
    found = []
    for copy, (down, right) in enumerate([(2, 4), (2, -4), (-2, 4), (-2, -4)]):
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < 5) & (column >= 0) & (column < 9)
        found.append(copy * 45 + (~inside).flatten().nonzero().flatten())
    return torch.cat(found)
