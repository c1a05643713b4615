"""Video inpainting: reconstruction, adversarial and flow losses, two optimisers, validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer

from lightvid.errors import ConfigurationError
from lightvid.losses import FlowTeacher, flow_l1, hinge_discriminator_loss, hinge_generator_loss, region_l1
from lightvid.metrics import BASELINES, InpaintingMetrics
from lightvid.networks import InpaintingOutput
from lightvid.stems import FlowGuidedPropagation

from .base import OnNonFinite, Task

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
        gradient_clip: float | None = None,
        accumulate: int = 1,
        ema_decay: float | None = None,
        on_nonfinite: OnNonFinite = "raise",
        ssim_window: Literal["gaussian", "uniform65"] = "gaussian",
    ) -> None:
        super().__init__(
            network,
            gradient_clip=gradient_clip,
            accumulate=accumulate,
            ema_decay=ema_decay,
            on_nonfinite=on_nonfinite,
        )
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
        self.baseline_metrics = nn.ModuleDict(
            {_key(name): InpaintingMetrics(ssim_window=ssim_window) for name in BASELINES}
        )

    def setup(self, stage: str) -> None:
        """Refuse to compare flow between frames that are no neighbours.

        Raises:
            ConfigurationError: `flow_weight` with a data module that does not give consecutive frames.
        """
        sampling = getattr(self.trainer.datamodule, "sampling", None)  # type: ignore[attr-defined]
        if stage == "fit" and self.loss_weights["flow"] and sampling in ("mixed", "random"):
            raise ConfigurationError(
                f"task.flow_weight needs consecutive frames, which data.sampling={sampling} does not give:"
                " data.sampling=local_and_reference, or consecutive"
            )

    def training_step(self, batch: InpaintingBatch, index: int) -> None:
        """The published algorithm: the generator runs once, then the discriminator learns, then the generator."""
        step = self.is_last_of_step()
        generator_optimizer, *discriminator_optimizers = self._optimizers()
        truth, masks = batch.frames, batch.masks
        output = self.network(truth * (1 - masks), masks, local_frames=batch.local_frames)
        restored = output.frames
        composite = truth * (1 - masks) + restored.float() * masks
        losses = {"hole": region_l1(restored, truth, masks), "valid": region_l1(restored, truth, 1 - masks)}
        if self.loss_weights["flow"]:
            losses["flow"] = self._flow_loss(output, truth[:, : batch.local_frames])
        if self.discriminator is not None:
            loss = hinge_discriminator_loss(self.discriminator(truth), self.discriminator(composite.detach()))
            if not self.finite({**losses, "discriminator": loss}, batch):
                return
            self.update(discriminator_optimizers[0], loss, step)
            self.log("loss/discriminator", loss.detach(), prog_bar=True)
        with self.toggled_optimizer(generator_optimizer):
            if self.discriminator is not None:
                losses["adversarial"] = hinge_generator_loss(self.discriminator(composite))
            losses["total"] = sum(
                (self.loss_weights[name] * loss for name, loss in losses.items()),
                start=torch.zeros_like(losses["hole"]),
            )
            if not self.finite(losses, batch):
                return
            self.update(generator_optimizer, losses["total"], step)
        if step:
            self.after_step()
            self.step_schedules()
        self.log_dict({f"loss/{name}": loss.detach() for name, loss in losses.items()}, prog_bar=True)

    def validation_step(self, batch: InpaintingBatch, index: int) -> dict[str, Tensor]:
        """Restore clips and measure them; the result's `restored` is `(B, T, 3, H, W)` in [-1, 1]."""
        truth, masks = batch.frames, batch.masks
        output = self.validated_network(truth * (1 - masks), masks, local_frames=batch.local_frames)
        prediction = output.frames.float().clamp(-1, 1)
        restored = truth * (1 - masks) + prediction * masks
        self.metrics.update((restored + 1) / 2, (truth + 1) / 2, masks)
        if self.trainer.state.fn != TrainerFn.FITTING:
            self._measure_baselines(truth, masks)
        return {"restored": restored}

    def on_validation_epoch_end(self) -> None:
        """Log the network's metrics, and outside of training those of the baselines on the same clips."""
        self._log_metrics("val", self.metrics)
        if self.trainer.state.fn != TrainerFn.FITTING:
            for name in BASELINES:
                self._log_metrics(f"baseline/{name}", self._baseline(name))

    def configure_optimizers(self) -> Any:
        """One optimiser for the generator and one for the discriminator, each with its own copy of the schedule."""
        optimizers = [self._make_generator_optimizer()]
        if self.discriminator is not None:
            optimizers.append(self.discriminator_optimizer(self.discriminator.parameters()))
        return optimizers, [self.schedule(optimizer) for optimizer in optimizers] if self.schedule else []

    def _make_generator_optimizer(self) -> Optimizer:
        if self.flow_learning_rate_factor in (0, 1):  # frozen parameters have no gradients
            return self.generator_optimizer(self.network.parameters())
        flow = [parameter for network in _flow_networks(self.network) for parameter in network.parameters()]
        of_flow = set(flow)
        others = [parameter for parameter in self.network.parameters() if parameter not in of_flow]
        optimizer = self.generator_optimizer([{"params": others}, {"params": flow}])
        optimizer.param_groups[1]["lr"] *= self.flow_learning_rate_factor  # schedules keep the ratio
        return optimizer

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

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        generator, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        for optimizer in others:
            # Lightning counts each optimiser's step as a global step: let only the generator's count.
            optimizer._on_before_step = optimizer._on_after_step = _do_not_count
        return [generator, *others]

    def _measure_baselines(self, truth: Tensor, masks: Tensor) -> None:
        frames = ((truth + 1) * 127.5).round().byte().movedim(2, -1).cpu().numpy()
        holes = masks[:, :, 0].byte().cpu().numpy()
        for name, restore in BASELINES.items():
            restored = torch.stack(
                [torch.from_numpy(restore(clip, hole)) for clip, hole in zip(frames, holes, strict=True)]
            )
            filled = restored.movedim(-1, 2).to(truth) / 127.5 - 1
            composite = truth * (1 - masks) + filled * masks
            self._baseline(name).update((composite + 1) / 2, (truth + 1) / 2, masks)

    def _baseline(self, name: str) -> InpaintingMetrics:
        metrics = self.baseline_metrics[_key(name)]
        assert isinstance(metrics, InpaintingMetrics)
        return metrics

    def _log_metrics(self, prefix: str, metrics: InpaintingMetrics) -> None:
        # Computed over all processes already; their equal values are averaged only to say so to Lightning.
        self.log_dict({f"{prefix}/{name}": value for name, value in metrics.compute().items()}, sync_dist=True)
        metrics.reset()


def _flow_networks(network: nn.Module) -> list[nn.Module]:
    """The parts of a network that estimate flow."""
    return [module.flow for module in network.modules() if isinstance(module, FlowGuidedPropagation)]


def _key(name: str) -> str:
    """A metric's name in module dictionaries, where dots separate levels."""
    return name.replace(".", "_")


def _do_not_count() -> None:
    pass
