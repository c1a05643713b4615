"""A task of one's own: take noise out of videos, with any backbone."""

from typing import Any

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import Tensor, nn

from lightvid.datamodules import InpaintingBatch
from lightvid.tasks.base import Task


class Denoising(Task):
    """Train a generator to take Gaussian noise out of frames in [-1, 1].

    Args:
        network: an `InpaintingGenerator`; its masks mark no holes here.
        noise: standard deviation.
        optimizer: makes the optimiser from the parameters.
    """

    def __init__(
        self, network: nn.Module, *, noise: float = 0.2, optimizer: OptimizerCallable = torch.optim.Adam
    ) -> None:
        super().__init__(network, gradient_clip=1.0)
        self.noise = noise
        self.optimizer = optimizer

    def training_step(self, batch: InpaintingBatch, index: int) -> None:
        """One step on the squared error."""
        loss = (self.denoise(batch) - batch.frames).square().mean()
        if not self.finite({"error": loss}, batch):
            return
        (optimizer,) = self.counted_optimizers()
        self.update(optimizer, loss, step=self.is_last_of_step())
        self.log("loss/error", loss.detach(), prog_bar=True)

    def validation_step(self, batch: InpaintingBatch, index: int) -> None:
        """PSNR in dB; the range of the frames is 2."""
        error = (self.denoise(batch).clamp(-1, 1) - batch.frames).square().mean()
        self.log("val/psnr", 10 * (4 / error).log10(), batch_size=len(batch.frames), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """One optimiser for all parameters."""
        return self.optimizer(self.network.parameters())

    def denoise(self, batch: InpaintingBatch) -> Tensor:
        """The frames `(B, T, 3, H, W)` that the network makes of noisy ones."""
        noisy = batch.frames + self.noise * torch.randn_like(batch.frames)
        return self.network(noisy, torch.zeros_like(batch.masks)).frames.float()
