"""Data modules: clips of videos with holes, from the benchmarks' own layouts."""

from .batch import ByteBatch, InpaintingBatch, InpaintingClip
from .davis import DAVIS
from .inpainting import InpaintingDataModule
from .sample import SampleData, make_sample_data
from .video_folder import VideoFolder
from .youtube_vos import YouTubeVOS

__all__ = [
    "DAVIS",
    "ByteBatch",
    "InpaintingBatch",
    "InpaintingClip",
    "InpaintingDataModule",
    "SampleData",
    "VideoFolder",
    "YouTubeVOS",
    "make_sample_data",
]
