"""Segmenting and tracking the instances of whole videos."""

from lightvid.segmentation.options import SegmenterOptions
from lightvid.segmentation.segmenter import VideoSegmenter
from lightvid.segmentation.tracks import TrackResult

__all__ = ["SegmenterOptions", "TrackResult", "VideoSegmenter"]
