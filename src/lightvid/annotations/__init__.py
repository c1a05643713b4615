"""Video instance annotations and results: the YouTube-VIS files, their masks, and what a network learns from them."""

from lightvid.annotations.rle import RLE
from lightvid.annotations.targets import InstanceTargets

__all__ = ["RLE", "InstanceTargets"]
