"""Published inpainting networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightvid.backbone import ConvFeedForward, SpatioTemporalTransformer
from lightvid.heads import ConvDecoder
from lightvid.networks.generator import InpaintingGenerator
from lightvid.stems import ConvStem

CHANNELS = 256


def sttn(*, recompute_ends: bool = False, **backbone_options: Any) -> InpaintingGenerator:
    """STTN (Zeng et al., ECCV 2020): 16,556,163 parameters, as published if no option is given.

    Args:
        recompute_ends: compute the stem and the head again in the backward pass instead of keeping their maps.
        **backbone_options: see `SpatioTemporalTransformer`, such as `residual="checkpoint"`.
    """
    return InpaintingGenerator(
        ConvStem(CHANNELS, recompute=recompute_ends),
        SpatioTemporalTransformer(CHANNELS, **backbone_options),
        ConvDecoder(CHANNELS, recompute=recompute_ends),
        init="published",
    )


def fast_sttn(*, chunks: int = 5, recompute_ends: bool = False, **backbone_options: Any) -> InpaintingGenerator:
    """FastSTTN (Escher et al., SIBGRAPI 2021): reversible blocks of two half-width streams.

    Args:
        chunks: sequential parts of the feed-forward (Eq. 7; the paper gives no number).
        recompute_ends: see `sttn`.
        **backbone_options: see `SpatioTemporalTransformer`.
    """
    options = {"residual": "reversible_split", "feed_forward": partial(ConvFeedForward, chunks=chunks)}
    return sttn(recompute_ends=recompute_ends, **{**options, **backbone_options})
