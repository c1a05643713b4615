"""Data modules: clips of videos with holes or with instances, from the benchmarks' own layouts."""

from .augmentations import CleanAugmentation, InstanceAugmentation, PublishedAugmentation
from .batch import ByteBatch, InpaintingBatch, InpaintingClip
from .davis import DAVIS
from .inpainting import InpaintingDataModule
from .instance_batch import InstanceBatch, InstanceByteBatch, InstanceClip, VideoTruth
from .joint import JointDataModule
from .layout import VideoPaths
from .sample import SampleData, SampleInstances, make_sample_data
from .shards import InstanceShards, TarShards
from .video_folder import VideoFolder
from .youtube_vis import YouTubeVISDataModule
from .youtube_vos import YouTubeVOS

__all__ = [
    "DAVIS",
    "ByteBatch",
    "CleanAugmentation",
    "InpaintingBatch",
    "InpaintingClip",
    "InpaintingDataModule",
    "InstanceAugmentation",
    "InstanceBatch",
    "InstanceByteBatch",
    "InstanceClip",
    "InstanceShards",
    "JointDataModule",
    "PublishedAugmentation",
    "SampleData",
    "SampleInstances",
    "TarShards",
    "VideoFolder",
    "VideoPaths",
    "VideoTruth",
    "YouTubeVISDataModule",
    "YouTubeVOS",
    "make_sample_data",
]
