"""Token mixers: `(B, T, H, W, C) -> (B, T, H, W, C)`, one file per mechanism."""

from lightvid.attention.patch import PatchAttention

__all__ = ["PatchAttention"]
