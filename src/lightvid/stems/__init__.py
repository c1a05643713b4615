"""Stems: frames `(B, T, 3, H, W)` to tokens `(B, T, h, w, C)`."""

from lightvid.stems.conv import ConvStem

__all__ = ["ConvStem"]
