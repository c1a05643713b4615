"""Token mixers: `(B, T, H, W, C) -> (B, T, H, W, C)`, one file per mechanism."""

from lightvid.attention.cross import CrossAttention, DeformableCrossAttention, Memory, References
from lightvid.attention.decoupled import SpatialAttention, TemporalAttention
from lightvid.attention.deformable import DeformableAttention
from lightvid.attention.focal import FocalAttention
from lightvid.attention.full import FullAttention
from lightvid.attention.patch import PatchAttention
from lightvid.attention.psal import PSAL

__all__ = [
    "PSAL",
    "CrossAttention",
    "DeformableAttention",
    "DeformableCrossAttention",
    "FocalAttention",
    "FullAttention",
    "Memory",
    "PatchAttention",
    "References",
    "SpatialAttention",
    "TemporalAttention",
]
