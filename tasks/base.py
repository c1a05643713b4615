"""What all tasks share: steps that accumulate, clip, average and answer losses that are not finite."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lightvid.errors import ConfigurationError, LightvidError

from .parameter_groups import FineTuning, drop_frozen_gradients, hold_statistics
from .precision import LEAST_SCALE, check_unscaled, scaler_of, share_scale

OnNonFinite = Literal["raise", "skip"]
MOST_SKIPPED = 100  # steps in a row: the weights themselves must be broken


class NonFiniteLossError(LightvidError):
    """A loss or its gradient became NaN or infinite."""


class SteppedTask(pl.LightningModule):
    """Manual optimisation, so that a training step reads like its paper's algorithm.

    Args:
        gradient_clip: largest gradient norm of each optimiser's parameters; None does not clip.
        accumulate: batches per optimiser step.
        on_nonfinite: when a loss or a gradient is NaN or infinite, stop the run, or leave the step out and count it.
    """

    def __init__(self, *, gradient_clip: float | None, accumulate: int, on_nonfinite: OnNonFinite) -> None:
        super().__init__()
        if accumulate < 1:
            raise ConfigurationError(f"task.accumulate counts batches: expected at least 1, got {accumulate}")
        if gradient_clip is not None and gradient_clip <= 0:
            raise ConfigurationError(f"task.gradient_clip is a norm above 0, or null for none: got {gradient_clip}")
        self.automatic_optimization = False
        self.gradient_clip = gradient_clip
        self.accumulate = accumulate
        self.on_nonfinite = on_nonfinite
        self.skipped_steps = 0
        self._skipped_in_a_row = 0
        self._last_skipped_batch = -1
        self._measured: dict[str, Tensor] = {}  # by the optimisers of a step

    def optimizer_names(self) -> list[str]:
        """What each optimiser is for, in their order: names of the logged gradient norms."""
        return ["network"]

    def on_fit_start(self) -> None:
        """Prepare for float16."""
        share_scale(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log what the optimisers of a step have measured, and let the loss scale of float16 follow them."""
        # Not where it is measured: in an epoch's first batch Lightning forgets what a hook logged when called again.
        self.log_dict(self._measured)
        self._measured = {}
        scaler = scaler_of(self.trainer)
        if scaler is not None and self.is_last_of_step():
            scaler.end_step()

    def counted_optimizers(self) -> list[LightningOptimizer]:
        """All optimisers; the steps of the first alone count as global steps, where Lightning counts those of each."""
        optimizers = self.optimizers()
        first, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in others:
            optimizer._on_before_step = optimizer._on_after_step = _do_not_count
        return [first, *others]

    def clip_of(self, optimizer: Optimizer) -> float | None:
        """The largest gradient norm of an optimiser's parameters; None for any."""
        return self.gradient_clip

    def is_last_of_step(self) -> bool:
        """Whether this batch is the last of those that one optimiser step takes."""
        return (self.trainer.fit_loop.total_batch_idx + 1) % self.accumulate == 0

    def steps_before(self) -> int:
        """How many steps, those left out included, came before the one that this batch belongs to."""
        return self.trainer.fit_loop.total_batch_idx // self.accumulate

    def update(self, optimizer: LightningOptimizer, loss: Tensor, step: bool) -> None:
        """Add a loss's gradients; if `step`, change the parameters by them."""
        self.manual_backward(loss / self.accumulate)
        if step:
            optimizer.step()
            optimizer.zero_grad()

    def step_schedules(self) -> None:
        """Let the learning rates go on by one step."""
        schedules = self.lr_schedulers()
        for schedule in schedules if isinstance(schedules, list) else [schedules] if schedules else []:
            schedule.step()  # type: ignore[call-arg]

    def finite(self, losses: dict[str, Tensor], batch: Any) -> bool:
        """Whether all losses are finite on every process; else stop or count the step, as `on_nonfinite` says.

        Args:
            losses: by name.
            batch: with `files`, for the message.

        Raises:
            NonFiniteLossError: with `on_nonfinite="raise"`.
        """
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        is_finite = bool(values.isfinite().all())  # asked once: each question waits for the device
        if self.trainer.strategy.reduce_boolean_decision(is_finite, all=True):
            return True
        bad = [name for name, value in zip(losses, values.tolist(), strict=True) if not math.isfinite(value)]
        which = f"loss {', '.join(bad) or 'of another process'}"
        self._answer_nonfinite(f"{which} is not finite for {', '.join(batch.files)}")
        if self.is_last_of_step():  # the other batches of this step must not add to the next one
            optimizers = self.optimizers()
            for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
                optimizer.zero_grad()
        return False

    def on_validation_model_zero_grad(self) -> None:
        """Keep what has been accumulated: Lightning would drop gradients before each validation."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip here, where mixed precision has already unscaled the gradients; take no step with broken ones.

        Losses may be finite and their gradients not. All processes hold the same gradients, and answer alike.
        The norm before clipping, of what is not frozen, is logged.
        """
        drop_frozen_gradients(optimizer, self.steps_before())
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm  # of parts on other processes, too
        name = dict(zip(map(id, self.trainer.optimizers), self.optimizer_names(), strict=False))[id(optimizer)]
        self._measured[f"gradient_norm/{name}"] = norm
        scaler = scaler_of(self.trainer)
        if scaler is not None:
            check_unscaled(optimizer)
        if norm.isfinite():
            if (largest := self.clip_of(optimizer)) is not None:
                clip_grads_with_norm_(parameters, largest, norm)
            return
        names = {parameter: name for name, parameter in self.named_parameters()}
        bad = [names[p] for p in parameters if p.grad is not None and not p.grad.isfinite().all()]
        for parameter in parameters:
            parameter.grad = None  # without gradients an optimiser changes neither weights nor its own state
        if scaler is None:
            self._answer_nonfinite(f"the gradient of {bad[0] if bad else 'all parameters together'} is not finite")
        else:
            self._answer_overflow(scaler.get_scale(), bad[0] if bad else "all parameters together")

    def _answer_overflow(self, scale: float, name: str) -> None:
        """Too large for float16 at this scale, as it happens while the scale is sought: it is halved."""
        self._measured["train/loss_scale"] = torch.tensor(scale)
        if scale < LEAST_SCALE:
            raise NonFiniteLossError(
                f"step {self.trainer.global_step}: the gradient of {name} is not finite at any loss scale: go back to a"
                " checkpoint, with trainer.precision=bf16-mixed or 32-true"
            )

    def _answer_nonfinite(self, what: str) -> None:
        message = f"step {self.trainer.global_step}: {what}"
        if self.on_nonfinite == "raise":
            raise NonFiniteLossError(f"{message}; task.on_nonfinite=skip leaves such steps out")
        self.skipped_steps += 1
        batch = self.trainer.fit_loop.total_batch_idx
        follows = batch - self._last_skipped_batch <= self.accumulate
        self._last_skipped_batch, self._skipped_in_a_row = batch, self._skipped_in_a_row + 1 if follows else 1
        if self._skipped_in_a_row >= MOST_SKIPPED:
            raise NonFiniteLossError(f"{message}, as in the {MOST_SKIPPED - 1} steps before: go back to a checkpoint")
        self.print(f"{message}: step left out ({self.skipped_steps} so far)")
        self.log("skipped_steps", float(self.skipped_steps))


class Task(SteppedTask):
    """Training of one network.

    Args:
        network: what is trained, and validated.
        init_from: weights to begin a new run with, see `lightvid.checkpoints.transfer.initialise`.
        fine_tuning: learning rates and frozen layers of the network.
        gradient_clip: see `SteppedTask`, as for `accumulate` and `on_nonfinite`.
        ema_decay: keep an exponential moving average of the network, which is then the one that is validated.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        init_from: str | None = None,
        fine_tuning: FineTuning = FineTuning(),  # noqa: B008 (it is frozen)
        gradient_clip: float | None = None,
        accumulate: int = 1,
        ema_decay: float | None = None,
        on_nonfinite: OnNonFinite = "raise",
    ) -> None:
        super().__init__(gradient_clip=gradient_clip, accumulate=accumulate, on_nonfinite=on_nonfinite)
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ConfigurationError(f"task.ema_decay must lie between 0 and 1, got {ema_decay}")
        self.network = network
        self.init_from = init_from
        self.fine_tuning = fine_tuning
        self.ema_decay = ema_decay
        self.network_ema: AveragedModel | None = None

    @property
    def validated_network(self) -> nn.Module:
        """The average where there is one, else the network."""
        return self.network if self.network_ema is None else self.network_ema.module

    def compile_networks(self) -> None:
        """Let `torch.compile` compile the network in place; not its average, which sees whole videos of any size."""
        self.network.compile()

    def average_network(self) -> None:
        """Begin the moving average that `ema_decay` asks for, once the network has all its parameters."""
        if self.ema_decay is not None and self.network_ema is None:
            average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(self.ema_decay))
            self.network_ema = average.requires_grad_(False)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Leave alone what is frozen."""
        hold_statistics(self.network, self.fine_tuning, self.steps_before())

    def after_step(self) -> None:
        """What follows a step of the optimisers: the moving average."""
        if self.network_ema is not None:
            self.network_ema.update_parameters(self.network)


def _do_not_count() -> None:
    pass
