"""Heads: tokens to frames, or to instances."""

from lightvid.heads.centre_queries import CentreQueries
from lightvid.heads.conv_decoder import ConvDecoder
from lightvid.heads.dynamic_masks import DynamicMaskHead
from lightvid.heads.queries import InstanceQueries, LearnedQueries
from lightvid.heads.query_decoder import QueryDecoder
from lightvid.heads.region_classifier import RegionClassifier
from lightvid.heads.sequence_masks import SequenceMaskHead
from lightvid.heads.soft_composition import SoftCompositionDecoder

__all__ = [
    "CentreQueries",
    "ConvDecoder",
    "DynamicMaskHead",
    "InstanceQueries",
    "LearnedQueries",
    "QueryDecoder",
    "RegionClassifier",
    "SequenceMaskHead",
    "SoftCompositionDecoder",
]
