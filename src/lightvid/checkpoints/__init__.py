"""Networks from files: the published checkpoints, and those of this project's runs."""

from lightvid.checkpoints.loading import load
from lightvid.checkpoints.report import CheckpointReport
from lightvid.checkpoints.whole import load_generator, load_i3d

__all__ = ["CheckpointReport", "load", "load_generator", "load_i3d"]
