"""The training tasks: losses, optimisation and logging around plain networks."""

from .inpainting import Inpainting

__all__ = ["Inpainting"]
