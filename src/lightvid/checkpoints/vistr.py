"""VisTR (Wang et al., CVPR 2021) and Deformable VisTR (Yarram et al., ICIP 2022), from files of VisTR and of detectors.

Released are `vistr_r50.pth` and `vistr_r101.pth`. Files of DETR and Deformable DETR fill what they fit, the start that
both papers take; so does a file of VisTR for Deformable VisTR: its values and outputs become those of the deformable
attention, whose offsets and weights keep their own start. See `detr.py` for the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lightvid.attention import CrossAttention
from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.categories import YOUTUBE_VIS_2019, describe
from lightvid.errors import CheckpointError
from lightvid.networks import InstanceSegmenter, vistr
from lightvid.stems.resnet_names import resnet_names

_STAGE3_BLOCKS = {6: "resnet50", 23: "resnet101"}
_BODY = "vistr.backbone.0.body"
_ENCODER_LAYERS = "vistr.transformer.encoder.layers"
_DECODER_LAYERS = "vistr.transformer.decoder.layers"
_FFN = {"linear1": "feed_forward.linear1", "linear2": "feed_forward.linear2"}
_ENCODER = {**_FFN, "norm1": "mixer_norm", "norm2": "feed_forward_norm"}
_DECODER = {
    **_FFN,
    "norm1": "self_attention_norm",
    "norm2": "cross_attention_norm",
    "norm3": "feed_forward_norm",
}
_ATTENTION = {"query": "query", "key": "key", "value": "value", "out_proj": "output"}
_ENDS = {
    "vistr.input_proj": "stem.projection",
    "vistr.transformer.decoder.norm": "decoder.norm",
    "vistr.transformer.reference_points": "decoder.reference",
    "vistr.class_embed": "decoder.class_heads.0",
    **{f"vistr.bbox_embed.layers.{index}": f"decoder.box_heads.0.layers.{index}" for index in range(3)},
    "bbox_attention.q_linear": "mask_head.query",
    "bbox_attention.k_linear": "mask_head.key",
    **{f"mask_head.lay{number}": f"mask_head.convolutions.{number - 1}" for number in range(1, 5)},
    **{f"mask_head.gn{number}": f"mask_head.norms.{number - 1}" for number in range(1, 6)},
    **{f"mask_head.adapter{number}": f"mask_head.adapters.{number - 1}" for number in range(1, 4)},
    "mask_head.conv_offset": "mask_head.offset",
    **{f"insmask_head.{index}": f"mask_head.sequence.{index}" for index in (0, 1, 3, 4, 6, 7, 9)},
}


def create(
    tensors: Tensors,
    *,
    preset: Callable[..., InstanceSegmenter] = vistr,
    default_model: str = "resnet50",
    frames: int = 36,
    **options: Any,
) -> InstanceSegmenter:
    """The network for a file, of its sizes, with what `SegmenterOptions` reads as attributes.

    Args:
        tensors: as `vistr_names` gives them.
        preset: `vistr` or `deformable_vistr`.
        default_model: where the file's ResNet is neither of depth 50 nor of 101.
        frames: that the file's queries are made for; their number does not say it.
        **options: of the preset; they go over what the file says.
    """
    network = preset(frames=frames, **{"model": default_model, **_sizes(tensors, frames, options), **options})
    classes = network.decoder.classes or 0
    known = list(enumerate(YOUTUBE_VIS_2019, 1))
    categories = known if classes == len(known) else [(number, f"class {number}") for number in range(1, classes + 1)]
    describe(network, categories, frames=frames, shortest=300, longest=None)
    return network


def names(network: InstanceSegmenter) -> dict[str, str]:
    """Published name, as `vistr_names` gives it -> name in the network, if it has one."""
    layers = dict(_ENDS)
    for index in range(len(network.backbone.blocks)):
        start, mine = f"{_ENCODER_LAYERS}.{index}", f"backbone.blocks.{index}"
        layers |= {f"{start}.{name}": f"{mine}.{own}" for name, own in _ENCODER.items()}
        layers |= {f"{start}.self_attn.{name}": f"{mine}.mixer.{own}" for name, own in _ATTENTION.items()}
    for index, layer in enumerate(network.decoder.layers):
        start, mine = f"{_DECODER_LAYERS}.{index}", f"decoder.layers.{index}"
        layers |= {f"{start}.{name}": f"{mine}.{own}" for name, own in _DECODER.items()}
        layers |= {f"{start}.self_attn.{name}": f"{mine}.self_attention.{own}" for name, own in _ATTENTION.items()}
        cross = f"{mine}.cross_attention"
        if isinstance(layer.cross_attention, CrossAttention):
            cross = f"{cross}.attention"
        layers |= {f"{start}.multihead_attn.{name}": f"{cross}.{own}" for name, own in _ATTENTION.items()}
    table = {f"{name}.{kind}": f"{own}.{kind}" for name, own in layers.items() for kind in ("weight", "bias")}
    body: nn.Module = network.stem.body  # type: ignore[assignment]
    table |= {f"{_BODY}.{name}": f"stem.body.{own}" for name, own in resnet_names(body).items()}
    return {
        **table,
        "vistr.query_embed.weight": "decoder.queries.table",
        "mask_head.dcn.weight": "mask_head.deformable",
    }


def _sizes(tensors: Tensors, frames: int, options: dict[str, Any]) -> dict[str, Any]:
    """What a file says about its network."""
    sizes: dict[str, Any] = {}
    if (model := _STAGE3_BLOCKS.get(_count(tensors, f"{_BODY}.layer3."))) is not None:
        sizes["model"] = model
    if layers := _count(tensors, f"{_ENCODER_LAYERS}."):
        sizes["layers"] = layers
    for option, name in (("channels", "vistr.input_proj.weight"), ("hidden", f"{_ENCODER_LAYERS}.0.linear1.weight")):
        if name in tensors:
            sizes[option] = len(tensors[name])
    if not any(name.startswith("insmask_head.") for name in tensors):
        return sizes  # a detector's classes and queries are not those of clips
    if "vistr.class_embed.weight" in tensors:
        sizes["classes"] = len(tensors["vistr.class_embed.weight"]) - 2
    if "vistr.query_embed.weight" in tensors and "instances" not in options:
        queries = len(tensors["vistr.query_embed.weight"])
        if queries % frames:
            raise CheckpointError(f"{queries} queries are not a multiple of {frames} frames: give frames=")
        sizes["instances"] = queries // frames
    return sizes


def _count(tensors: Tensors, start: str) -> int:
    """How many numbers follow a start in the names."""
    return len({name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)})
