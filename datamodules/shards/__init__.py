"""Clips of tar shards: writing them, and data modules that stream them."""

from .inpainting import TarShards
from .instances import InstanceShards

__all__ = ["InstanceShards", "TarShards"]
