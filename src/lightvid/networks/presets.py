"""Published inpainting networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightvid.attention import FullAttention, SpatialAttention, TemporalAttention
from lightvid.backbone import MLP, ConvFeedForward, FusionFeedForward, LearnedPositions, SpatioTemporalTransformer
from lightvid.heads import ConvDecoder, SoftCompositionDecoder
from lightvid.networks.generator import InpaintingGenerator
from lightvid.ops import PatchGrid
from lightvid.stems import ConvStem, SoftSplitStem


def sttn(*, recompute_ends: bool = False, **backbone_options: Any) -> InpaintingGenerator:
    """STTN (Zeng et al., ECCV 2020): 16,556,163 parameters, as published if no option is given.

    Args:
        recompute_ends: compute the stem and the head again in the backward pass instead of keeping their maps.
        **backbone_options: see `SpatioTemporalTransformer`, such as `residual="checkpoint"`.
    """
    return InpaintingGenerator(
        ConvStem(256, recompute=recompute_ends),
        SpatioTemporalTransformer(256, **backbone_options),
        ConvDecoder(256, recompute=recompute_ends),
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


def dstt(*, recompute_ends: bool = False, **backbone_options: Any) -> InpaintingGenerator:
    """DSTT (Liu et al., 2021): 34,529,155 parameters, as released if no option is given.

    Args:
        recompute_ends: see `sttn`.
        **backbone_options: see `SpatioTemporalTransformer`; `residual_from_norm=False` gives the blocks of the paper's
            figure, which the released weights were not trained with.
    """
    options: dict[str, Any] = {
        "mixer": [TemporalAttention, SpatialAttention],
        "feed_forward": MLP,
        "norm": "pre",
        "residual_from_norm": True,
    }
    return InpaintingGenerator(
        SoftSplitStem(512, widths=(256, 256, 256, 256, 128), recompute=recompute_ends),
        SpatioTemporalTransformer(512, **{**options, **backbone_options}),
        SoftCompositionDecoder(512, recompute=recompute_ends),
        init="published",
    )


def fuseformer(
    *, features: tuple[int, int] = (60, 108), recompute_ends: bool = False, **backbone_options: Any
) -> InpaintingGenerator:
    """FuseFormer (Liu et al., ICCV 2021): 36,591,299 parameters, as published if no option is given.

    Args:
        features: rows and columns that the learned positions and the bias map are made for, a quarter of the frame's.
            They are interpolated for frames of other sizes.
        recompute_ends: see `sttn`.
        **backbone_options: see `SpatioTemporalTransformer`.
    """
    height, width = PatchGrid().tokens(*features)
    options = {
        "mixer": FullAttention,
        "feed_forward": FusionFeedForward,
        "norm": "pre",
        "positions": LearnedPositions(512, height=height, width=width),
    }
    return InpaintingGenerator(
        SoftSplitStem(512, recompute=recompute_ends),
        SpatioTemporalTransformer(512, **{**options, **backbone_options}),
        SoftCompositionDecoder(512, bias_map=features, recompute=recompute_ends),
        init="published",
    )
