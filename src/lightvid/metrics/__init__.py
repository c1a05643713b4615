"""Metrics and the baselines that they are read against."""

from lightvid.metrics.baselines import BASELINES, mean_colour, nearest_visible, telea
from lightvid.metrics.inpainting import FramePSNR, InpaintingMetrics
from lightvid.metrics.youtube_vis import evaluate_youtube_vis, youtube_vis_ap
from lightvid.metrics.youtube_vis_averages import YouTubeVISScores
from lightvid.metrics.youtube_vis_streaming import YouTubeVISAP

__all__ = [
    "BASELINES",
    "FramePSNR",
    "InpaintingMetrics",
    "YouTubeVISAP",
    "YouTubeVISScores",
    "evaluate_youtube_vis",
    "mean_colour",
    "nearest_visible",
    "telea",
    "youtube_vis_ap",
]
