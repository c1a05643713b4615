"""Assembled networks: plain modules that know nothing of training."""

from lightvid.networks.discriminator import TPatchGAN
from lightvid.networks.generator import InpaintingGenerator, InpaintingOutput
from lightvid.networks.presets import dstt, fast_sttn, fuseformer, sttn

__all__ = ["InpaintingGenerator", "InpaintingOutput", "TPatchGAN", "dstt", "fast_sttn", "fuseformer", "sttn"]
