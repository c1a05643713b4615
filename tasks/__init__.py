"""The training tasks: losses, optimisation and logging around plain networks."""

from .inpainting import Inpainting
from .instance_segmentation import InstanceSegmentation
from .joint import Joint
from .strategies import DDPPerNetwork

__all__ = ["DDPPerNetwork", "Inpainting", "InstanceSegmentation", "Joint"]
