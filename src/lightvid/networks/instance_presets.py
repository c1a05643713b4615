"""Published networks for video instance segmentation."""

from __future__ import annotations

from functools import partial
from typing import Any

from lightvid.attention import CrossAttention, DeformableAttention, DeformableCrossAttention, FullAttention
from lightvid.backbone import MLP, SinePositions, SpatioTemporalTransformer
from lightvid.backbone.initialisation import start_as_published
from lightvid.heads import LearnedQueries, QueryDecoder, SequenceMaskHead
from lightvid.networks.instance_segmenter import InstanceSegmenter
from lightvid.stems import ImageStem


def vistr(
    model: str = "resnet50",
    *,
    classes: int = 40,
    instances: int = 10,
    frames: int = 36,
    channels: int = 384,
    heads: int = 8,
    hidden: int = 2048,
    layers: int = 6,
    dropout: float = 0.1,
    stem_options: dict[str, Any] | None = None,
    **backbone_options: Any,
) -> InstanceSegmenter:
    """VisTR (Wang et al., CVPR 2021): 57,116,129 parameters with ResNet-50, 76,056,033 with ResNet-101.

    Args:
        model: see `ImageStem`.
        classes: of the data; the network has 2 outputs more, see `InstancePrediction`.
        instances: most instances of a clip.
        frames: of the clips that the queries are made for; other lengths work, too.
        channels: width of tokens and queries.
        heads: of all attention.
        hidden: width inside the feed-forwards.
        layers: of the encoder, and of the decoder.
        dropout: published: 0.1.
        stem_options: see `ImageStem`.
        **backbone_options: see `SpatioTemporalTransformer`, such as `residual="checkpoint"`.
    """
    options = {"mixer": partial(FullAttention, heads=heads, dropout=dropout), **backbone_options}
    return _assemble(
        model, channels, hidden, layers, dropout, stem_options, options,
        decoder={
            "classes": classes,
            "queries": partial(LearnedQueries, instances=instances, frames=frames),
            "cross_attention": partial(CrossAttention, heads=heads, dropout=dropout),
            "heads": heads,
        },
    )  # fmt: skip


def deformable_vistr(
    model: str = "resnet50",
    *,
    classes: int = 40,
    instances: int = 10,
    frames: int = 36,
    channels: int = 384,
    heads: int = 8,
    points: int = 32,
    hidden: int = 2048,
    layers: int = 6,
    dropout: float = 0.1,
    stem_options: dict[str, Any] | None = None,
    **backbone_options: Any,
) -> InstanceSegmenter:
    """Deformable VisTR (Yarram et al., ICIP 2022): VisTR with deformable attention in the encoder and to the clip.

    What the paper leaves open is described at `QueryDecoder`, `DeformableAttention` and `DeformableCrossAttention`.

    Args:
        points: K, points of each head; published: 32.
        model: see `vistr`, as for all that follow.
    """
    options = {"mixer": partial(DeformableAttention, heads=heads, points=points), **backbone_options}
    return _assemble(
        model, channels, hidden, layers, dropout, stem_options, options,
        decoder={
            "classes": classes,
            "queries": partial(LearnedQueries, instances=instances, frames=frames),
            "cross_attention": partial(DeformableCrossAttention, heads=heads, points=points),
            "heads": heads,
        },
    )  # fmt: skip


def _assemble(
    model: str,
    channels: int,
    hidden: int,
    layers: int,
    dropout: float,
    stem_options: dict[str, Any] | None,
    backbone_options: dict[str, Any],
    decoder: dict[str, Any],
) -> InstanceSegmenter:
    stem = ImageStem(channels, model=model, **(stem_options or {}))
    options = {
        "blocks": layers,
        "feed_forward": partial(MLP, hidden=hidden, dropout=dropout),
        "norm": "post",
        "positions": SinePositions(channels),
        "positions_at": "attention",
        "dropout": dropout,
        **backbone_options,
    }
    backbone = SpatioTemporalTransformer(channels, **options)
    start_as_published(backbone)
    return InstanceSegmenter(
        stem,
        backbone,
        QueryDecoder(channels, layers=layers, hidden=hidden, dropout=dropout, classification="softmax", **decoder),
        SequenceMaskHead(channels, feature_channels=stem.feature_channels),
    )
