"""Inpainting and instance segmentation at once, on one backbone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypedDict, get_args

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer

from lightvid.errors import ConfigurationError
from lightvid.networks import InpaintingGenerator, share_parts

from .base import OnNonFinite, SteppedTask
from .initialisation import start_from
from .inpainting import Inpainting
from .instance_segmentation import InstanceSegmentation, sum_of_outputs
from .parameter_groups import hold_statistics

Balance = Literal["fixed", "uncertainty"]


class Joint(SteppedTask):
    """Train an inpainting network and one for instances that share their backbone.

    Every step takes a batch of each task. The losses, metrics, moving averages and optimisers are those of the two
    tasks: what they share, the backbone and perhaps the stem, learns by the optimiser of `segmentation`, with its
    factors, schedule and clipping; the rest of the generator, and the discriminator, by those of `inpainting`.

    Args:
        inpainting: its network keeps its backbone.
        segmentation: its network, made with an equal backbone, gets that of `inpainting`.
        inpaint_weight: of the inpainting loss.
        vis_weight: of the loss of instance segmentation.
        balance: "fixed" leaves the weights; "uncertainty" learns two log-variances s, both 0 at first, and minimises
            the sum of `exp(-s) * weight * loss + s` (homoscedastic uncertainty, Kendall et al., CVPR 2018, Sec. 3), for
            totals above 0: the adversarial loss must stay a small part.
        share_stem: share the image stem, too, see `share_parts`.
        init_from: see `Task`; those of the two tasks stay None.
        accumulate: see `SteppedTask`, as for `on_nonfinite`; those of the two tasks stay as they are by default.
    """

    def __init__(
        self,
        inpainting: Inpainting,
        segmentation: InstanceSegmentation,
        *,
        inpaint_weight: float = 1.0,
        vis_weight: float = 1.0,
        balance: Balance = "fixed",
        share_stem: bool = False,
        init_from: str | None = None,
        accumulate: int = 1,
        on_nonfinite: OnNonFinite = "raise",
    ) -> None:
        super().__init__(gradient_clip=None, accumulate=accumulate, on_nonfinite=on_nonfinite)
        if min(inpaint_weight, vis_weight) <= 0:
            raise ConfigurationError(
                f"task.inpaint_weight={inpaint_weight}, task.vis_weight={vis_weight}: expected numbers above 0"
            )
        if balance not in get_args(Balance):
            raise ConfigurationError(f"task.balance must be one of {', '.join(get_args(Balance))}, got '{balance}'")
        _check_parts(inpainting, segmentation)
        assert isinstance(inpainting.network, InpaintingGenerator)
        share_parts(inpainting.network, segmentation.network, stem=share_stem)
        self.inpainting = inpainting
        self.segmentation = segmentation
        self.init_from = init_from
        self.loss_weights = {"inpaint": inpaint_weight, "vis": vis_weight}
        learned = self.loss_weights if balance == "uncertainty" else ()
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in learned})

    @property
    def categories(self) -> list[tuple[int, str]]:
        """Id and name of each class of instances."""
        return self.segmentation.categories

    def setup(self, stage: str) -> None:
        """Set up both tasks.

        Raises:
            ConfigurationError: the data module does not give what they need.
            CheckpointError: `init_from` with nothing that fits.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not (hasattr(data, "categories") and hasattr(data, "sampling")):
            raise ConfigurationError(
                f"task=joint needs a JointDataModule, got {type(data).__name__}: data=sample, davis, youtube or shards"
            )
        self.inpainting.setup(stage)
        self.segmentation.setup(stage)
        if stage == "fit" and self.init_from is not None:
            start_from(self.init_from, {"inpaint": self.inpainting, "vis": self.segmentation})
            self.init_from = None  # another fit goes on

    def on_train_batch_start(self, batch: JointBatch, batch_idx: int) -> None:
        """Leave alone what is frozen."""
        for task in (self.inpainting, self.segmentation):
            hold_statistics(task.network, task.fine_tuning, self.steps_before())

    def training_step(self, batch: JointBatch, index: int) -> None:
        """Each task in turn adds its gradients, so that the memory is that of one; then all optimisers step."""
        step = self.is_last_of_step()
        segmenter, generator, *discriminators = self.counted_optimizers()
        # A loss of instances that is not finite leaves the step out; before the last of accumulated batches, however,
        # what inpainting has added stays, like what the other batches add.
        of_inpainting = self._inpaint(batch["inpaint"], discriminators, step)
        if of_inpainting is None:
            return
        of_instances = self._segment(batch["vis"])
        if of_instances is None:
            return
        self._log_losses(of_inpainting, of_instances)
        if step:
            for optimizer in (segmenter, generator):
                optimizer.step()
                optimizer.zero_grad()
            for task in (self.inpainting, self.segmentation):
                task.after_step()
            self.step_schedules()

    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """That of inpainting for the first loader, of instance segmentation for the second."""
        return (self.inpainting, self.segmentation)[dataloader_idx].validation_step(batch, index)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of both tasks."""
        self.log_dict(self.inpainting.metrics_of_epoch() | self.segmentation.metrics_of_epoch(), sync_dist=True)

    def optimizer_names(self) -> list[str]:
        """See `SteppedTask`."""
        return ["shared", *self.inpainting.optimizer_names()]

    def compile_networks(self) -> None:
        """Those of both tasks."""
        self.inpainting.compile_networks()
        self.segmentation.compile_networks()

    def configure_optimizers(self) -> Any:
        """The optimisers of instances and shared parts, of the rest of the generator, and of the discriminator."""
        shared = self.segmentation.make_optimizer()
        if self.log_variances:
            # decay would draw the weights of the losses towards 1
            shared.add_param_group({"params": list(self.log_variances.parameters()), "weight_decay": 0.0})
        of_inpainting = self.inpainting.make_optimizers(without=list(self.segmentation.network.parameters()))
        schedules = [self.segmentation.schedule(shared)] if self.segmentation.schedule else []
        schedules += [self.inpainting.schedule(o) for o in of_inpainting] if self.inpainting.schedule else []
        return [shared, *of_inpainting], schedules

    def clip_of(self, optimizer: Optimizer) -> float | None:
        """As the task says whose optimiser it is."""
        of_segmentation = optimizer is self.trainer.optimizers[0]
        return (self.segmentation if of_segmentation else self.inpainting).gradient_clip

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the categories."""
        self.segmentation.on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Know the categories before the weights come."""
        self.segmentation.on_load_checkpoint(checkpoint)

    def _inpaint(
        self, batch: Any, discriminators: Iterable[LightningOptimizer], step: bool
    ) -> dict[str, Tensor] | None:
        """Let the discriminator learn and add the generator's gradients; None if a loss is not finite."""
        losses, composite = self.inpainting.restoration_losses(batch)
        of_discriminator = {}
        for optimizer in discriminators:
            of_discriminator["discriminator"] = self.inpainting.discriminator_loss(batch, composite)
            if not self.finite(losses | of_discriminator, batch):
                return None
            self.update(optimizer, of_discriminator["discriminator"], step)
        losses = self.inpainting.generator_losses(losses, composite)
        return of_discriminator | losses if self._add_gradients("inpaint", losses, batch) else None

    def _segment(self, batch: Any) -> dict[str, Tensor] | None:
        """Add the gradients of instance segmentation; None if a loss is not finite."""
        output = self.segmentation.predict(batch)
        if not self.finite(sum_of_outputs(output), batch):  # there would be nothing to match
            return None
        losses = self.segmentation.losses(output, batch)
        return losses if self._add_gradients("vis", losses, batch) else None

    def _add_gradients(self, name: str, losses: dict[str, Tensor], batch: Any) -> bool:
        if not self.finite(losses, batch):
            return False
        self.manual_backward(self._weighted(name, losses["total"]) / self.accumulate)
        return True

    def _weighted(self, name: str, loss: Tensor) -> Tensor:
        weighted = self.loss_weights[name] * loss
        if name not in self.log_variances:
            return weighted
        log_variance = self.log_variances[name]
        return torch.exp(-log_variance) * weighted + log_variance

    def _log_losses(self, of_inpainting: dict[str, Tensor], of_instances: dict[str, Tensor]) -> None:
        """Every loss by its name, the total of each task by the task's."""
        totals = {"inpaint": of_inpainting.pop("total").detach(), "vis": of_instances.pop("total").detach()}
        weighted = {name: self._weighted(name, loss).detach() for name, loss in totals.items()}
        shown = totals | {"total": weighted["inpaint"] + weighted["vis"]}
        self.log_dict({f"loss/{name}": loss for name, loss in shown.items()}, prog_bar=True)
        self.log_dict({f"loss/{name}": loss.detach() for name, loss in (of_inpainting | of_instances).items()})
        self.log_dict({f"log_variance/{name}": value.detach() for name, value in self.log_variances.items()})


class JointBatch(TypedDict):
    """A batch of each task, an `InpaintingBatch` and an `InstanceBatch`."""

    inpaint: Any
    vis: Any


def _check_parts(inpainting: Inpainting, segmentation: InstanceSegmentation) -> None:
    """Refuse what one task of a joint run cannot decide by itself."""
    for name, task in (("inpainting", inpainting), ("segmentation", segmentation)):
        for option, default in (("accumulate", 1), ("on_nonfinite", "raise"), ("init_from", None)):
            if (value := getattr(task, option)) != default:
                raise ConfigurationError(
                    f"task.{name}.{option}={value}: a joint run has one for both tasks, set task.{option}"
                )
    if segmentation.schedule_interval != "step":
        raise ConfigurationError("task.segmentation.schedule_interval: the schedules of a joint run go by steps")
