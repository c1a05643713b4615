"""Stems: frames to tokens."""

from lightvid.stems.convolutional import ConvStem

__all__ = ["ConvStem"]
