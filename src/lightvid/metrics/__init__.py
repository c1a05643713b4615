"""Metrics and the baselines that they are read against."""

from lightvid.metrics.baselines import BASELINES, mean_colour, nearest_visible, telea
from lightvid.metrics.flow_estimators import flow_estimator
from lightvid.metrics.frechet import frechet_distance
from lightvid.metrics.inpainting import FramePSNR, InpaintingMetrics
from lightvid.metrics.ssim import structural_similarity
from lightvid.metrics.vfid import VideoFeatures
from lightvid.metrics.video_quality import VideoQuality, average
from lightvid.metrics.warp_error import FlowEstimator, WarpError
from lightvid.metrics.youtube_vis import evaluate_youtube_vis, youtube_vis_ap
from lightvid.metrics.youtube_vis_averages import YouTubeVISScores
from lightvid.metrics.youtube_vis_streaming import YouTubeVISAP

__all__ = [
    "BASELINES",
    "FlowEstimator",
    "FramePSNR",
    "InpaintingMetrics",
    "VideoFeatures",
    "VideoQuality",
    "WarpError",
    "YouTubeVISAP",
    "YouTubeVISScores",
    "average",
    "evaluate_youtube_vis",
    "flow_estimator",
    "frechet_distance",
    "mean_colour",
    "nearest_visible",
    "structural_similarity",
    "telea",
    "youtube_vis_ap",
]
