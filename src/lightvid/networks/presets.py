"""Published networks as choices of stem, mixer, feed-forward, residual scheme and head."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightvid.backbone import ConvFeedForward, SpatioTemporalTransformer
from lightvid.heads import ConvDecoder
from lightvid.networks.inpainting import InpaintingGenerator
from lightvid.stems import ConvStem


def sttn(**backbone: Any) -> InpaintingGenerator:
    """STTN (Zeng, Fu and Chao, ECCV 2020): 16,556,163 parameters.

    Args:
        backbone: options of `SpatioTemporalTransformer`, such as `residual="checkpoint"`.
    """
    transformer = SpatioTemporalTransformer(256, **{"blocks": 8, **backbone})
    return InpaintingGenerator(ConvStem(256), transformer, ConvDecoder(256), init="published")


def fast_sttn(**backbone: Any) -> InpaintingGenerator:
    """FastSTTN (Escher, de Bem and Drews, SIBGRAPI 2021): STTN with reversible blocks of two 128-channel streams.

    Args:
        backbone: options of `SpatioTemporalTransformer`; the feed-forward goes in 5 chunks, a number the paper does not give.
    """
    return sttn(**{"residual": "reversible_split", "feed_forward": partial(ConvFeedForward, chunks=5), **backbone})
