"""Assembled networks: plain modules that know nothing of training."""

from lightvid.networks.discriminator import TPatchGAN
from lightvid.networks.encoded_frames import EncodedFrames
from lightvid.networks.generator import InpaintingGenerator, InpaintingOutput
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction
from lightvid.networks.instance_presets import deformable_vistr, vistr
from lightvid.networks.instance_segmenter import InstanceSegmenter
from lightvid.networks.joint import share_parts
from lightvid.networks.presets import dstt, e2fgvi, e2fgvi_hq, fast_sttn, fuseformer, sttn

__all__ = [
    "EncodedFrames",
    "InpaintingGenerator",
    "InpaintingOutput",
    "InstanceOutput",
    "InstancePrediction",
    "InstanceSegmenter",
    "TPatchGAN",
    "deformable_vistr",
    "dstt",
    "e2fgvi",
    "e2fgvi_hq",
    "fast_sttn",
    "fuseformer",
    "share_parts",
    "sttn",
    "vistr",
]
