"""Stems: frames `(B, T, 3, H, W)` to tokens `(B, T, h, w, C)`."""

from lightvid.stems.conv import ConvStem
from lightvid.stems.image import ImageStem
from lightvid.stems.output import PyramidOutput, StemOutput
from lightvid.stems.soft_split import SoftSplitStem

__all__ = ["ConvStem", "ImageStem", "PyramidOutput", "SoftSplitStem", "StemOutput"]
