"""The spatio-temporal transformer: a mixer, a feed-forward and a residual scheme, chosen independently."""

from lightvid.backbone.feed_forward import ConvFeedForward
from lightvid.backbone.transformer import SpatioTemporalTransformer

__all__ = ["ConvFeedForward", "SpatioTemporalTransformer"]
