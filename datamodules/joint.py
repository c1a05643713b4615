"""The data of two tasks at once."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import CombinedLoader

from lightvid.annotations.youtube_vis import Category

from .base import ClipDataModule
from .inpainting import InpaintingDataModule
from .loader import ValidationLoader
from .sampling import FrameSampling
from .youtube_vis import YouTubeVISDataModule


class JointDataModule(pl.LightningDataModule):
    """Clips with holes and clips with instances: each training batch is `{"inpaint": ..., "vis": ...}`.

    An epoch ends with the shorter loader (`min_size`). Each epoch takes the videos in a new order, so all those of the
    longer one come up in time. To cycle through the shorter one would show its clips again within the epoch, at the
    same frames, with the same holes and augmentations. A resumed run goes on at the next batch of both.

    Validation gives first the clips with holes, then the videos with instances, from a loader each.

    Args:
        inpainting: gives clips with holes.
        segmentation: gives clips with instances.
    """

    def __init__(self, inpainting: InpaintingDataModule, segmentation: YouTubeVISDataModule) -> None:
        super().__init__()
        self.inpainting = inpainting
        self.segmentation = segmentation
        self.skipped: list[str] = []
        inpainting.skipped = segmentation.skipped = self.skipped
        # With more processes than validation clips, some have none.
        self.allow_zero_length_dataloader_with_multiple_devices = True

    @property
    def sampling(self) -> FrameSampling:
        """How the frames of a training clip with holes are chosen."""
        return self.inpainting.sampling

    @property
    def categories(self) -> list[Category]:
        """See `YouTubeVISDataModule.categories`."""
        return self.segmentation.categories

    def prepare_data(self) -> None:
        """Write the sample data, where it is used."""
        self.inpainting.prepare_data()
        self.segmentation.prepare_data()

    def setup(self, stage: str) -> None:
        """Look for the videos of both.

        Raises:
            DataError: a folder or a file is missing or wrong.
        """
        self.inpainting.setup(stage)
        self.segmentation.setup(stage)

    def train_dataloader(self) -> CombinedLoader:
        """A batch of each, as long as both have one."""
        loaders = {"inpaint": self.inpainting.train_dataloader(), "vis": self.segmentation.train_dataloader()}
        return CombinedLoader(loaders, "min_size")

    def val_dataloader(self) -> list[ValidationLoader]:
        """The clips with holes, and the videos with instances."""
        return [self.inpainting.val_dataloader(), self.segmentation.val_dataloader()]

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """See `ClipDataModule`, as for the two below."""
        return self._each("on_before_batch_transfer", batch, dataloader_idx)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Each batch to the device, but for whole videos."""
        return self._each("transfer_batch_to_device", batch, dataloader_idx, device=device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn bytes into floats."""
        return self._each("on_after_batch_transfer", batch, dataloader_idx)

    def _each(self, hook: str, batch: Any, loader: int, **arguments: Any) -> Any:
        """Let the data module that a batch comes from treat it; in training, each its own part."""
        parts: tuple[ClipDataModule, ClipDataModule] = (self.inpainting, self.segmentation)
        if not isinstance(batch, dict):
            return getattr(parts[loader], hook)(batch, dataloader_idx=loader, **arguments)
        treated = zip(parts, batch.items(), strict=True)
        return {name: getattr(part, hook)(own, dataloader_idx=0, **arguments) for part, (name, own) in treated}
