"""Stems: frames `(B, T, 3, H, W)` to tokens `(B, T, h, w, C)`."""

from lightvid.stems.base import InpaintingStem
from lightvid.stems.conv import ConvStem
from lightvid.stems.image import ImageStem
from lightvid.stems.image_inpainting import ImageInpaintingStem
from lightvid.stems.output import PyramidOutput, StemOutput
from lightvid.stems.propagation import FlowGuidedPropagation, thumbnails
from lightvid.stems.soft_split import SoftSplitStem
from lightvid.stems.spynet import SPyNet

__all__ = [
    "ConvStem",
    "FlowGuidedPropagation",
    "ImageInpaintingStem",
    "ImageStem",
    "InpaintingStem",
    "PyramidOutput",
    "SPyNet",
    "SoftSplitStem",
    "StemOutput",
    "thumbnails",
]
