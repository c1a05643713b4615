"""Filling holes with what other frames show, without learning."""

from lightvid.propagation.propagated import PropagatedVideo
from lightvid.propagation.restorer import PropagationRestorer

__all__ = ["PropagatedVideo", "PropagationRestorer"]
