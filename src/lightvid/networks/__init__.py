"""The assembled networks."""

from lightvid.networks.discriminator import TPatchGAN
from lightvid.networks.inpainting import InpaintingGenerator, InpaintingOutput
from lightvid.networks.presets import fast_sttn, sttn

__all__ = ["InpaintingGenerator", "InpaintingOutput", "TPatchGAN", "fast_sttn", "sttn"]
