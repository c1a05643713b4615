"""Runs whose every step is written down, the same way in one process and in each of two."""

from functools import partialmethod
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.metrics import YouTubeVISAP
from lightvid.tasks.callbacks import LastCheckpoint

QUIET = (
    "trainer.limit_val_batches=0",
    "loggers={}",
    "callbacks.best=null",
    "callbacks.last=null",
    "callbacks.pictures=null",
    "callbacks.learning_rate=null",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)


class Watch(pl.Callback):
    """Keeps what each step saw and what it answered, and the numbers that this process held at the last step."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.files: list[list[str]] = []
        self.held = 0

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        tensors = [tensor for state in optimizer.state.values() for tensor in state.values() if tensor.dim()]
        for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
            tensors += [parameter] if parameter.grad is None else [parameter, parameter.grad]
        self.held = sum(of_process(tensor).numel() for tensor in tensors)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        parts = batch.values() if isinstance(batch, dict) else [batch]
        self.files.append([file for part in parts for file in part.files])
        logged = trainer.callback_metrics.items()
        self.losses.append(
            {name: float(value) for name, value in logged if name.startswith(("loss/", "gradient_norm/network"))}
        )


class Trouble(pl.Callback):
    """In the batches 2 to 4 the second process has no instances, then no finite pictures, then a broken gradient."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 2:
            batch.targets[:] = [type(target)(*(part[:0] for part in target)) for target in batch.targets]
        if trainer.global_rank == 1 and batch_idx == 3:
            batch.frames.fill_(torch.nan)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        gradient = optimizer.param_groups[0]["params"][0].grad
        is_divided = isinstance(gradient, DTensor)
        if trainer.fit_loop.total_batch_idx == 4 and (trainer.global_rank == 1 or not is_divided):
            of_process(gradient).fill_(torch.nan)


FOUND: dict[int, list[float]] = {}
"""The scores of the tracks that the network found in a video, at the last validation."""


def update_with_guesses(
    metric: YouTubeVISAP, update: Any, tracks: list[dict[str, Any]], truth: list[dict[str, Any]], *, length: int
) -> None:
    """Also some predictions that are partly right, since a network has none after so few steps; and keep its own."""
    if truth:
        FOUND[truth[0]["video_id"]] = [track["score"] for track in tracks]
    guesses = []
    for number, track in enumerate(truth):
        share = (track["video_id"] + number) % 3 + 1
        masks = [mask if frame % share == 0 else None for frame, mask in enumerate(track["segmentations"])]
        kept = {name: track[name] for name in ("video_id", "category_id")}
        guesses.append({**kept, "score": 1 + track["video_id"] % 5, "segmentations": masks})
    update(metric, [*guesses, *tracks], truth, length=length)


@mock.patch.object(YouTubeVISAP, "update", partialmethod(update_with_guesses, YouTubeVISAP.update))
def observe(
    arguments: list[str], *, resume: str | None = None, save: str | None = None, trouble: bool = False
) -> dict[str, Any]:
    """Train, validate, and tell; `save` is a folder, which gets `last.ckpt` at the last step, and is validated."""
    pl.seed_everything(0, verbose=False)
    FOUND.clear()
    run = build(compose(arguments))
    watch = Watch()
    run.trainer.callbacks.append(watch)
    if save is not None:
        run.trainer.callbacks.append(LastCheckpoint(save))
    if trouble:
        run.trainer.callbacks.append(Trouble())
    start = {name: value.clone() for name, value in run.task.state_dict().items()}
    run.trainer.fit(run.task, run.data, ckpt_path=resume, weights_only=True)
    trained = {name: whole(value).clone() for name, value in run.task.state_dict().items()}
    run.trainer.limit_val_batches = 1.0
    saved = None if save is None else f"{save}/last.ckpt"
    run.trainer.validate(run.task, run.data, ckpt_path=saved, verbose=False, weights_only=True)
    metrics = {name: float(value) for name, value in run.trainer.callback_metrics.items() if "loss/" not in name}
    observed = {"losses": watch.losses, "files": watch.files, "held": watch.held, "metrics": metrics}
    return {**observed, "start": start, "weights": trained, "found": dict(FOUND)}


def whole(value: Tensor) -> Tensor:
    """A tensor, of whose parts all processes ask at once."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def of_process(tensor: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
