"""The spatio-temporal transformer that every task owns, and its parts."""

from lightvid.backbone.feed_forward import ConvFeedForward
from lightvid.backbone.transformer import SpatioTemporalTransformer

__all__ = ["ConvFeedForward", "SpatioTemporalTransformer"]
