"""Frames after the first part of an inpainting network, which looks at each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class EncodedFrames:
    """What `InpaintingGenerator.encode` makes of frames; one frame's part does not depend on the others.

    Attributes:
        features: `(B, T, h, w, c)`.
        holes: `(B, T, h', w')` at the tokens' size, 1 = hole.
        thumbnails: `(B, T, 3, h, w)` in [-1, 1], on which flow is estimated; None without flow guidance.
        size: height and width of the frames.
    """

    features: Tensor
    holes: Tensor
    thumbnails: Tensor | None
    size: tuple[int, int]

    def __len__(self) -> int:
        """Number of clips, B."""
        return len(self.features)

    def __getitem__(self, key: Any) -> EncodedFrames:
        """Some clips and frames, as of a tensor `(B, T, ...)`: `encoded[:, [0, 3, 4]]`."""
        small = None if self.thumbnails is None else self.thumbnails[key]
        return EncodedFrames(self.features[key], self.holes[key], small, self.size)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> EncodedFrames:
        """The same on another device."""
        tensors = (self.features, self.holes, self.thumbnails)
        moved = [None if x is None else x.to(device, non_blocking=non_blocking) for x in tensors]
        assert moved[0] is not None and moved[1] is not None
        return EncodedFrames(moved[0], moved[1], moved[2], self.size)

    @staticmethod
    def cat(parts: Sequence[EncodedFrames]) -> EncodedFrames:
        """Join frames of the same clips."""
        first = parts[0]
        small = [part.thumbnails for part in parts if part.thumbnails is not None]
        return EncodedFrames(
            torch.cat([part.features for part in parts], dim=1),
            torch.cat([part.holes for part in parts], dim=1),
            torch.cat(small, dim=1) if small else None,
            first.size,
        )
