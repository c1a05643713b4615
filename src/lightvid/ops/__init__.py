"""Parameter-free tensor operations; the larger ones, such as `patch_match`, are in modules of their own name.

Importing this package makes all of them known to `torch.ops.lightvid`, which exported programs ask for.
"""

from lightvid.ops import deformable_conv, deformable_sampling, patch_attention, patch_match
from lightvid.ops.attention import fused_attention, hide_keys
from lightvid.ops.chunking import map_frames
from lightvid.ops.layout import maps_to_tokens, tokens_to_maps
from lightvid.ops.precision import cast_for_autocast, without_autocast
from lightvid.ops.soft_split import PatchGrid, overlap_count, soft_composition, soft_split
from lightvid.ops.warp import flows_agree, warp

__all__ = [
    "PatchGrid",
    "cast_for_autocast",
    "deformable_conv",
    "deformable_sampling",
    "flows_agree",
    "fused_attention",
    "hide_keys",
    "map_frames",
    "maps_to_tokens",
    "overlap_count",
    "patch_attention",
    "patch_match",
    "soft_composition",
    "soft_split",
    "tokens_to_maps",
    "warp",
    "without_autocast",
]
