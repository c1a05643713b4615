"""What a network for video instance segmentation was trained for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lightvid.errors import ConfigurationError
from lightvid.segmentation.scoring import Classification


@dataclass(frozen=True)
class SegmenterOptions:
    """The options of `VideoSegmenter` that a network from `lightvid.checkpoints.load` brings along.

    Attributes:
        classification: how its class logits are meant.
        frames: of the clips it was trained with.
        overlap: frames that windows share, None for half of them.
        category_ids: of class 0, 1, ...
        category_names: likewise.
        shortest: size of frames' shorter side, in pixels.
        longest: bound of the longer side, None if there is none.
    """

    classification: Classification
    frames: int
    overlap: int | None
    category_ids: list[int]
    category_names: list[str]
    shortest: int
    longest: int | None

    @classmethod
    def of(cls, network: nn.Module) -> SegmenterOptions:
        """Read them from the network's attributes.

        Raises:
            ConfigurationError: it has none.
        """
        trained: Any = network
        try:
            return cls(
                classification=trained.classification,
                frames=trained.frames,
                overlap=trained.overlap,
                category_ids=list(trained.category_ids),
                category_names=list(trained.category_names),
                shortest=trained.input_size["shortest"],
                longest=trained.input_size["longest"],
            )
        except AttributeError as error:
            raise ConfigurationError(
                f"the network does not say its {error.name}: load it from a checkpoint of task=vis, or a published one"
            ) from None
