"""Callbacks of every run."""

from .checkpoints import LastCheckpoint, SaveConfiguration
from .mask_panels import MaskPanels
from .overlays import SaveOverlays
from .pictures import SavePictures
from .progress import LossProgressBar, ReportSkippedClips
from .seeds import SeedEveryStep
from .throughput import Throughput, TrainingSeconds

__all__ = [
    "LastCheckpoint",
    "LossProgressBar",
    "MaskPanels",
    "ReportSkippedClips",
    "SaveConfiguration",
    "SaveOverlays",
    "SavePictures",
    "SeedEveryStep",
    "Throughput",
    "TrainingSeconds",
]
