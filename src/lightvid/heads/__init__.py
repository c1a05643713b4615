"""Heads: tokens to what a task asks for."""

from lightvid.heads.convolutional import ConvDecoder

__all__ = ["ConvDecoder"]
