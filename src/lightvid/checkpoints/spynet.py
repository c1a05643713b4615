"""SPyNet as OpenMMLab and BasicSR publish it."""

from __future__ import annotations

from typing import Any

from lightvid.checkpoint_reading import Tensors
from lightvid.stems import SPyNet


def create(tensors: Tensors, **options: Any) -> SPyNet:
    """The network of published sizes; options as for `SPyNet`."""
    return SPyNet(**options)
