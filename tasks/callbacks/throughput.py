"""What training costs: seconds, clips in a second, memory."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


class TrainingSeconds(Callback):
    """Log the seconds spent training so far, waiting for data included and validation excluded, also over resumes."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count since the last batch or validation."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        pl_module.log("train/seconds", self.seconds)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on counting."""
        self._since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """For a resumed run."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.seconds = float(state_dict["seconds"])


class Throughput(Callback):
    """Log clips per second over all processes, waiting for data included, and the peak of memory in GiB.

    The rate is that of the last batches between two rows of the loggers; the memory is what tensors took on the GPU of
    the first process, or without GPU the memory of that process, its data workers not counted.
    """

    def __init__(self) -> None:
        self._batches: deque[tuple[float, int]] = deque()
        self._since = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._batches = deque(maxlen=max(1, trainer.log_every_n_steps))  # type: ignore[attr-defined]
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the clips since the last batch or validation."""
        now = time.monotonic()
        self._batches.append((now - self._since, _clips(batch)))
        self._since = now
        seconds, clips = (sum(values) for values in zip(*self._batches, strict=True))
        pl_module.log("train/clips_per_second", trainer.world_size * clips / max(seconds, 1e-9))
        pl_module.log("train/peak_memory_gib", _peak_memory(pl_module.device))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on counting."""
        self._since = time.monotonic()


def _clips(batch: Any) -> int:
    """Clips of a batch, or of all batches of a joint one."""
    batches = batch.values() if isinstance(batch, dict) else [batch]
    return sum(len(part.files) for part in batches)


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
