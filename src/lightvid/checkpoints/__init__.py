"""Networks from files: the published checkpoints, and those of this project's runs."""

from lightvid.checkpoints.loading import load
from lightvid.checkpoints.report import CheckpointReport

__all__ = ["CheckpointReport", "load"]
