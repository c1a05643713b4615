"""Video inpainting: reconstruction, adversarial and flow losses, two optimisers, validation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightvid.errors import ConfigurationError
from lightvid.losses import FlowTeacher, flow_l1, hinge_discriminator_loss, hinge_generator_loss, region_l1
from lightvid.metrics import InpaintingMetrics
from lightvid.networks import InpaintingOutput
from lightvid.stems import FlowGuidedPropagation

from .base import OnNonFinite, Task
from .baselines import BaselineMetrics
from .initialisation import start_from
from .parameter_groups import FineTuning, check_optimizer, grouped_optimizer

if TYPE_CHECKING:
    from lightvid.datamodules.batch import InpaintingBatch


class Inpainting(Task):
    """Train a generator to fill holes in clips.

    Args:
        network: generator, called as `network(masked_frames, masks, local_frames=n)` with `(B, T, 3, H, W)` in [-1, 1]
            and `(B, T, 1, H, W)`, 1 = hole; its result is an `InpaintingOutput`.
        hole_weight: of the L1 distance inside the holes (`region_l1`).
        valid_weight: of the L1 distance outside.
        adversarial_weight: of the generator's adversarial loss.
        flow_weight: of the loss of completed flow (`flow_l1`), for networks that give flows.
        flow_teacher: gives the flow to learn, from the consecutive frames of a clip without their holes.
        flow_learning_rate_factor: of what estimates flow, against the rest of the generator; 0 freezes it.
        discriminator: called as `discriminator(video)` with `(B, T, 3, H, W)`; None trains without adversarial loss.
        generator_optimizer: makes the generator's optimiser from its parameters.
        discriminator_optimizer: likewise for the discriminator.
        schedule: makes a learning rate schedule from an optimiser, for both; it steps once a generator step.
        init_from: see `Task`; the discriminator begins anew.
        backbone_lr_scale: see `FineTuning`, as for `layer_decay`, `freeze_backbone_steps`, `unfreeze_block_steps` and
            `pretrained_stem`.
        gradient_clip: see `Task`, as for `accumulate`, `ema_decay` and `on_nonfinite`.
        ssim_window: see `InpaintingMetrics`.
    """

    def __init__(
        self,
        network: nn.Module,
        discriminator: nn.Module | None = None,
        *,
        hole_weight: float = 1.0,
        valid_weight: float = 1.0,
        adversarial_weight: float = 0.01,
        flow_weight: float = 0.0,
        flow_teacher: FlowTeacher | None = None,
        flow_learning_rate_factor: float = 1.0,
        generator_optimizer: OptimizerCallable = torch.optim.Adam,
        discriminator_optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: LRSchedulerCallable | None = None,
        init_from: str | None = None,
        backbone_lr_scale: float = 1.0,
        layer_decay: float = 1.0,
        freeze_backbone_steps: int = 0,
        unfreeze_block_steps: int = 0,
        pretrained_stem: bool = True,
        gradient_clip: float | None = None,
        accumulate: int = 1,
        ema_decay: float | None = None,
        on_nonfinite: OnNonFinite = "raise",
        ssim_window: Literal["gaussian", "uniform65"] = "gaussian",
    ) -> None:
        super().__init__(
            network,
            init_from=init_from,
            fine_tuning=FineTuning(
                backbone_lr_scale=backbone_lr_scale,
                layer_decay=layer_decay,
                freeze_backbone_steps=freeze_backbone_steps,
                unfreeze_block_steps=unfreeze_block_steps,
                pretrained_stem=pretrained_stem,
            ),
            gradient_clip=gradient_clip,
            accumulate=accumulate,
            ema_decay=ema_decay,
            on_nonfinite=on_nonfinite,
        )
        check_optimizer("task.generator_optimizer", generator_optimizer)
        check_optimizer("task.discriminator_optimizer", discriminator_optimizer)
        self.flow_teacher = flow_teacher
        self.flow_learning_rate_factor = flow_learning_rate_factor
        self._prepare_flow(flow_weight)
        self.average_network()
        self.discriminator = discriminator
        self.loss_weights = {
            "hole": hole_weight,
            "valid": valid_weight,
            "flow": flow_weight,
            "adversarial": adversarial_weight,
        }
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.schedule = schedule
        self.metrics = InpaintingMetrics(ssim_window=ssim_window)
        self.baseline_metrics = BaselineMetrics(ssim_window=ssim_window)

    @property
    def networks_in_turn(self) -> list[nn.Module]:
        """What learns, each in a backward pass of its own."""
        return [self.network] if self.discriminator is None else [self.network, self.discriminator]

    def setup(self, stage: str) -> None:
        """Refuse to compare flow between frames that are no neighbours, and take the weights to begin with.

        Raises:
            ConfigurationError: `flow_weight` with a data module that does not give consecutive frames, or clips that
                are too small to be measured.
            CheckpointError: `init_from` with nothing that fits.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        sampling, height, width = (getattr(data, name, None) for name in ("sampling", "height", "width"))
        if height and width and self.trainer.limit_val_batches:
            self.metrics.check_size(height, width)
        if stage == "fit" and self.loss_weights["flow"] and sampling in ("mixed", "random"):
            raise ConfigurationError(
                f"task.flow_weight needs consecutive frames, which data.sampling={sampling} does not give:"
                " data.sampling=local_and_reference, or consecutive"
            )
        if stage == "fit" and self.init_from is not None:
            start_from(self.init_from, {"inpaint": self})
            self.init_from = None  # another fit goes on

    def training_step(self, batch: InpaintingBatch, index: int) -> None:
        """The published algorithm: the generator runs once, then the discriminator learns, then the generator."""
        step = self.is_last_of_step()
        generator_optimizer, *discriminator_optimizers = self.counted_optimizers()
        losses, composite = self.restoration_losses(batch)
        if self.discriminator is not None:
            loss = self.discriminator_loss(batch, composite)
            if not self.finite({**losses, "discriminator": loss}, batch):
                return
            self.update(discriminator_optimizers[0], loss, step)
            self.log("loss/discriminator", loss.detach(), prog_bar=True)
        losses = self.generator_losses(losses, composite)
        if not self.finite(losses, batch):
            return
        self.update(generator_optimizer, losses["total"], step)
        if step:
            self.after_step()
            self.step_schedules()
        self.log_dict({f"loss/{name}": loss.detach() for name, loss in losses.items()}, prog_bar=True)

    def optimizer_names(self) -> list[str]:
        """See `SteppedTask`."""
        return ["generator", "discriminator"]

    def compile_networks(self) -> None:
        """Both networks."""
        super().compile_networks()
        if self.discriminator is not None:
            self.discriminator.compile()

    def restoration_losses(self, batch: InpaintingBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Run the generator: its losses against the truth, and the clips `(B, T, 3, H, W)` with their holes filled."""
        truth, masks = batch.frames, batch.masks
        output = self.network(truth * (1 - masks), masks, local_frames=batch.local_frames)
        restored = output.frames
        losses = {"hole": region_l1(restored, truth, masks), "valid": region_l1(restored, truth, 1 - masks)}
        if self.loss_weights["flow"]:
            losses["flow"] = self._flow_loss(output, truth[:, : batch.local_frames])
        return losses, truth * (1 - masks) + restored.float() * masks

    def discriminator_loss(self, batch: InpaintingBatch, composite: Tensor) -> Tensor:
        """What the discriminator learns from; the generator gets no gradient."""
        assert self.discriminator is not None
        return hinge_discriminator_loss(self.discriminator(batch.frames), self.discriminator(composite.detach()))

    def generator_losses(self, losses: dict[str, Tensor], composite: Tensor) -> dict[str, Tensor]:
        """The losses of `restoration_losses`, the adversarial one, and the weighted sum of all as `total`.

        The discriminator gets no gradient.
        """
        losses = dict(losses)
        if self.discriminator is not None:
            with _frozen(self.discriminator):
                losses["adversarial"] = hinge_generator_loss(self.discriminator(composite))
        losses["total"] = sum(
            (self.loss_weights[name] * loss for name, loss in losses.items()),
            start=torch.zeros_like(losses["hole"]),
        )
        return losses

    def validation_step(self, batch: InpaintingBatch, index: int) -> dict[str, Tensor]:
        """Restore clips and measure them; the result's `restored` is `(B, T, 3, H, W)` in [-1, 1]."""
        truth, masks = batch.frames, batch.masks
        output = self.validated_network(truth * (1 - masks), masks, local_frames=batch.local_frames)
        prediction = output.frames.float().clamp(-1, 1)
        restored = truth * (1 - masks) + prediction * masks
        self.metrics.update((restored + 1) / 2, (truth + 1) / 2, masks)
        if self.trainer.state.fn != TrainerFn.FITTING:
            self.baseline_metrics.update(truth, masks)
        return {"restored": restored}

    def on_validation_epoch_end(self) -> None:
        """Log the metrics."""
        # Computed over all processes already; their equal values are averaged only to say so to Lightning.
        self.log_dict(self.metrics_of_epoch(), sync_dist=True)

    def metrics_of_epoch(self) -> dict[str, Tensor]:
        """The network's metrics, and outside of training those of the baselines on the same clips; they start anew."""
        measured = {"val": self.metrics}
        if self.trainer.state.fn != TrainerFn.FITTING:
            measured |= {f"baseline/{name}": metrics for name, metrics in self.baseline_metrics.by_name().items()}
        values: dict[str, Tensor] = {}
        for prefix, metrics in measured.items():
            values |= {f"{prefix}/{name}": value for name, value in metrics.compute().items()}
            metrics.reset()
        return values

    def configure_optimizers(self) -> Any:
        """One optimiser for the generator and one for the discriminator, each with its own copy of the schedule."""
        optimizers = self.make_optimizers()
        return optimizers, [self.schedule(optimizer) for optimizer in optimizers] if self.schedule else []

    def make_optimizers(self, *, without: Collection[nn.Parameter] = ()) -> list[Optimizer]:
        """The optimisers of the generator, but for some parameters, and of the discriminator, where there is one."""
        optimizers = [self._make_generator_optimizer(set(without))]
        if self.discriminator is not None:
            optimizers.append(self.discriminator_optimizer(self.discriminator.parameters()))
        return optimizers

    def _make_generator_optimizer(self, without: set[nn.Parameter]) -> Optimizer:
        flow = {parameter for network in _flow_networks(self.network) for parameter in network.parameters()}
        names = {name for name, parameter in self.network.named_parameters() if parameter in flow}
        return grouped_optimizer(
            self.generator_optimizer,
            self.network,
            self.fine_tuning,
            factor_of=lambda name: self.flow_learning_rate_factor if name in names else 1.0,
            without=without,
        )

    def _prepare_flow(self, weight: float) -> None:
        """Check what concerns flow, and freeze the networks that estimate it if asked to."""
        if weight and self.flow_teacher is None:
            raise ConfigurationError(
                f"task.flow_weight={weight} needs task.flow_teacher: lightvid.losses.SPyNetTeacher or DISTeacher"
            )
        factor, networks = self.flow_learning_rate_factor, _flow_networks(self.network)
        if factor < 0:
            raise ConfigurationError(f"task.flow_learning_rate_factor={factor}: expected at least 0")
        if factor != 1 and not networks:
            raise ConfigurationError(f"task.flow_learning_rate_factor={factor}: the network estimates no flow")
        if factor == 0:
            for network in networks:
                network.requires_grad_(False)

    def _flow_loss(self, output: InpaintingOutput, truth: Tensor) -> Tensor:
        """The loss of the flow between consecutive frames `(B, n, 3, H, W)`, given without their holes.

        Raises:
            ConfigurationError: the network gives no flow.
        """
        if output.flows is None or not output.flows[0].shape[1]:
            raise ConfigurationError(
                "task.flow_weight needs flow, and the network gives none: give it backbone=flow, and clips two"
                " consecutive frames at least; or task.flow_weight=0"
            )
        assert self.flow_teacher is not None
        return flow_l1(output.flows, self.flow_teacher(truth))


def _flow_networks(network: nn.Module) -> list[nn.Module]:
    """The parts of a network that estimate flow."""
    return [module.flow for module in network.modules() if isinstance(module, FlowGuidedPropagation)]


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Keep the parameters of a network out of what is computed."""
    states = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, state in states.items():
            parameter.requires_grad_(state)
