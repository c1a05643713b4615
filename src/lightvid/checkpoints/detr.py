"""The tensors of DETR and Deformable DETR under the names of VisTR's files."""

from __future__ import annotations

from torch import Tensor

from lightvid.checkpoint_reading import Tensors

# What VisTR's network has inside `vistr.`, and plain DETR files at their top.
_DETECTOR = ("backbone", "transformer", "input_proj", "class_embed", "bbox_embed", "query_embed")
_DEFORMABLE = {
    "self_attn.value_proj": "self_attn.value",
    "self_attn.output_proj": "self_attn.out_proj",
    "cross_attn.value_proj": "multihead_attn.value",
    "cross_attn.output_proj": "multihead_attn.out_proj",
}
_DECODER_NORMS = {"norm1": "norm2", "norm2": "norm1"}


def vistr_names(tensors: Tensors) -> Tensors:
    """Rename tensors, and take queries, keys and values apart, which the files hold in one tensor.

    A file of VisTR (Wang et al., CVPR 2021) or DETR (Carion et al., ECCV 2020) keeps all that it has. Deformable DETR
    (Zhu et al., ICLR 2021) calls the LayerNorm after its cross-attention `norm1` and that after self-attention `norm2`:
    these are exchanged. Of its projections it gives that of the map of 1/32 of the size, and its values and outputs
    stand for those of dense attention. What only it has, such as offsets, stays under its own names.

    Args:
        tensors: as in the file, with or without the prefix `detr.` of networks that began as detectors.
    """
    tensors = {_prefixed(name): tensor for name, tensor in tensors.items()}
    is_deformable = any(".cross_attn." in name for name in tensors)
    level = 2 if "vistr.input_proj.2.0.weight" in tensors else 0
    shared = {**_DEFORMABLE, f"input_proj.{level}.0": "input_proj"}
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        swapped = _DECODER_NORMS if is_deformable and ".decoder.layers." in name else {}
        renamed |= _apart(_renamed(name, shared | swapped), tensor)
    return renamed


def _prefixed(name: str) -> str:
    name = name.removeprefix("detr.")
    return f"vistr.{name}" if name.split(".")[0] in _DETECTOR else name


def _renamed(name: str, endings: dict[str, str]) -> str:
    """The name, its layer's ending replaced."""
    layer, _, kind = name.rpartition(".")
    for ending, replacement in endings.items():
        if layer.endswith(f".{ending}"):
            return f"{layer.removesuffix(ending)}{replacement}.{kind}"
    return name


def _apart(name: str, tensor: Tensor) -> Tensors:
    """`in_proj_weight` and `in_proj_bias` as three tensors; any other as it is."""
    start, marker, kind = name.rpartition(".in_proj_")
    if not marker:
        return {name: tensor}
    parts = zip(("query", "key", "value"), tensor.chunk(3), strict=True)
    return {f"{start}.{part}.{kind}": value for part, value in parts}
