"""Parameter-free tensor operations."""

from lightvid.ops.chunking import map_frames
from lightvid.ops.layout import maps_to_tokens, tokens_to_maps
from lightvid.ops.precision import cast_for_autocast, without_autocast

__all__ = ["cast_for_autocast", "map_frames", "maps_to_tokens", "tokens_to_maps", "without_autocast"]
