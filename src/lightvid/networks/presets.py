"""Published inpainting networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightvid.attention import FocalAttention, FullAttention, SpatialAttention, TemporalAttention
from lightvid.backbone import MLP, ConvFeedForward, FusionFeedForward, LearnedPositions, SpatioTemporalTransformer
from lightvid.heads import ConvDecoder, SoftCompositionDecoder
from lightvid.networks.generator import InpaintingGenerator
from lightvid.ops import PatchGrid
from lightvid.stems import ConvStem, FlowGuidedPropagation, SoftSplitStem, SPyNet


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


def e2fgvi(
    *,
    features: tuple[int, int] = (60, 108),
    published_flow_order: bool = True,
    flow_weights: str | None = None,
    recompute_ends: bool = False,
    **backbone_options: Any,
) -> InpaintingGenerator:
    """E2FGVI (Li et al., CVPR 2022): 41,799,743 parameters, as published if no option is given.

    Args:
        features: rows and columns that the learned bias map is made for; see `fuseformer`.
        published_flow_order: see `FlowGuidedPropagation`; False is for weights of one's own.
        flow_weights: see `SPyNet`; where to begin training.
        recompute_ends: see `sttn`.
        **backbone_options: see `SpatioTemporalTransformer`.
    """
    head = SoftCompositionDecoder(512, bias_map=features, recompute=recompute_ends)
    return _e2fgvi(head, published_flow_order, flow_weights, backbone_options)


def e2fgvi_hq(
    *,
    published_flow_order: bool = True,
    flow_weights: str | None = None,
    recompute_ends: bool = False,
    **backbone_options: Any,
) -> InpaintingGenerator:
    """E2FGVI-HQ (Li et al., CVPR 2022): 41,117,887 parameters, nothing in it made for one size. Options as `e2fgvi`."""
    head = SoftCompositionDecoder(512, smooth=True, recompute=recompute_ends)
    return _e2fgvi(head, published_flow_order, flow_weights, backbone_options)


def _e2fgvi(
    head: SoftCompositionDecoder,
    published_flow_order: bool,
    flow_weights: str | None,
    backbone_options: dict[str, Any],
) -> InpaintingGenerator:
    propagation = FlowGuidedPropagation(
        128, flow=SPyNet(weights=flow_weights), published_flow_order=published_flow_order
    )
    options = {
        "mixer": FocalAttention,
        "feed_forward": partial(FusionFeedForward, activation="gelu"),
        "norm": "pre",
    }
    return InpaintingGenerator(
        SoftSplitStem(512, propagation=propagation, recompute=head.decoder.recompute),
        SpatioTemporalTransformer(512, **{**options, **backbone_options}),
        head,
        init="published",
        pad_to=(60, 108),
        pad_mode="mirror",
    )
