"""Metrics and the baselines that they are read against."""

from lightvid.metrics.baselines import BASELINES, mean_colour, nearest_visible, telea
from lightvid.metrics.inpainting import FramePSNR, InpaintingMetrics

__all__ = ["BASELINES", "FramePSNR", "InpaintingMetrics", "mean_colour", "nearest_visible", "telea"]
