"""float16 training with several optimisers."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch.optim import Optimizer

from lightvid.errors import ConfigurationError

LEAST_SCALE = 2.0**-24  # the smallest number of float16


class StepScaler(torch.amp.GradScaler):
    """A loss scale that all optimisers of a step share.

    Lightning updates the scale after every optimiser. Where gradients of the next optimiser are waiting already, from
    accumulated batches or because several losses come before the first step, they would be divided by another scale
    than they were multiplied by: by half of it after an overflow, by twice of it when it grows.
    """

    _is_due = False

    def update(self, new_scale: Any = None) -> None:
        """Remember that an optimiser has stepped, or has left its step out."""
        self._is_due = True

    def end_step(self) -> None:
        """Change the scale by what all optimisers of the step have found."""
        if self._is_due:
            super().update()
            self._is_due = False

    def state_dict(self) -> dict[str, Any]:
        """As after the step: checkpoints are saved before Lightning asks the task to end it."""
        self.end_step()
        return super().state_dict()


def share_scale(trainer: pl.Trainer) -> None:
    """Let the optimisers of a float16 run share one scale; to be called before a checkpoint's scale is restored."""
    plugin = trainer.precision_plugin
    if isinstance(plugin, MixedPrecision) and type(plugin.scaler) is torch.amp.GradScaler:
        shared = StepScaler(plugin.device)
        shared.load_state_dict(plugin.scaler.state_dict())
        plugin.scaler = shared


def scaler_of(trainer: pl.Trainer) -> StepScaler | None:
    """The scaler of a float16 run."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler if isinstance(scaler, StepScaler) else None


def check_unscaled(optimizer: Optimizer) -> None:
    """Refuse optimisers that divide gradients by the scale within their step, after they would have been clipped.

    Raises:
        ConfigurationError: a fused optimiser.
    """
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        raise ConfigurationError(
            f"{type(optimizer).__name__} with fused=true hides its gradients from clipping under trainer.precision="
            "16-mixed: leave fused out, or take trainer.precision=bf16-mixed"
        )
