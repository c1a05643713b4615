"""Heads: tokens to what a task asks for."""

from lightvid.heads.conv_decoder import ConvDecoder
from lightvid.heads.soft_composition import SoftCompositionDecoder

__all__ = ["ConvDecoder", "SoftCompositionDecoder"]
