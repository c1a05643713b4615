"""Clips of tar shards: writing them, and a data module that streams them."""

from .module import TarShards

__all__ = ["TarShards"]
