"""Heads: tokens to what a task asks for."""

from lightvid.heads.conv_decoder import ConvDecoder

__all__ = ["ConvDecoder"]
