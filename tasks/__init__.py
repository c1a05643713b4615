"""The training tasks: losses, optimisation and logging around plain networks."""

from .fully_sharded import FullyShardedSegmenter
from .inpainting import Inpainting
from .instance_segmentation import InstanceSegmentation
from .joint import Joint
from .strategies import DDPPerNetwork

__all__ = ["DDPPerNetwork", "FullyShardedSegmenter", "Inpainting", "InstanceSegmentation", "Joint"]
