"""Pictures and videos of restored clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch import Tensor

from .media import Pictures, Shown


class SavePictures(Pictures):
    """Strips and a video of masked, restored and truth; arguments as `Pictures`."""

    def shown(self, pl_module: pl.LightningModule, outputs: Any, batch: Any) -> Iterator[tuple[int, Iterator[Shown]]]:
        """See `Pictures.shown`."""
        for truth, mask, restored in zip(batch.frames, batch.masks, outputs["restored"], strict=True):
            yield len(truth), map(_show_restored, truth, mask, restored)


def _show_restored(truth: Tensor, mask: Tensor, restored: Tensor) -> Shown:
    masked = truth * (1 - mask)
    return {"masked": _to_bytes(masked), "restored": _to_bytes(restored), "truth": _to_bytes(truth)}


def _to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """`(..., 3, H, W)` in [-1, 1] to `(..., H, W, 3)` uint8."""
    return ((frames.float() + 1) * 127.5).round().clamp(0, 255).byte().movedim(-3, -1).cpu().numpy()
