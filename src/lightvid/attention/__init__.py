"""Token mixers: each maps tokens `(B, T, H, W, C)` to tokens of the same shape."""

from lightvid.attention.patch import PatchAttention

__all__ = ["PatchAttention"]
