"""The spatio-temporal transformer: a mixer, a feed-forward and a residual scheme, chosen independently."""

from lightvid.backbone.feed_forward import MLP, ConvFeedForward
from lightvid.backbone.fusion import FusionFeedForward
from lightvid.backbone.positions import LearnedPositions, SinePositions
from lightvid.backbone.transformer import SpatioTemporalTransformer

__all__ = [
    "MLP",
    "ConvFeedForward",
    "FusionFeedForward",
    "LearnedPositions",
    "SinePositions",
    "SpatioTemporalTransformer",
]
