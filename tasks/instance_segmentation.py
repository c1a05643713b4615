"""Video instance segmentation: set prediction losses on clips, AP on whole videos."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lightvid.errors import ConfigurationError
from lightvid.losses import InstanceLoss
from lightvid.metrics import YouTubeVISAP
from lightvid.networks import InstanceOutput, InstanceSegmenter
from lightvid.segmentation import VideoSegmenter

from .base import OnNonFinite, Task
from .initialisation import start_from
from .parameter_groups import FineTuning, check_optimizer, grouped_optimizer

if TYPE_CHECKING:
    from lightvid.datamodules.instance_batch import InstanceBatch, InstanceByteBatch

LOGGED = ("AP", "AP50", "AP75", "AR1", "AR10")


class InstanceSegmentation(Task):
    """Train a network to find, classify, segment and track the instances of clips; validate it on whole videos.

    The number of classes is that of the data, unless the network's decoder has one already. Checkpoints hold the
    categories, so that results of a trained network carry the ids and names of its data.

    Args:
        network: called as `network(frames, padding_mask)`, see `InstanceSegmenter`.
        loss: matches and compares, such as `TrackLoss` or `VisTRLoss`.
        auxiliary_losses: of what parts of the network answer besides, such as `CentreLoss` and `RegionLoss`.
        optimizer: makes the optimiser from groups of parameters.
        learning_rate_factors: part of a parameter's name -> factor of its learning rate; the first that fits.
        schedule: makes a learning rate schedule from the optimiser.
        schedule_interval: whether it steps with the optimiser or with the epochs.
        window: frames that the network sees at once in validation, see `VideoSegmenter`.
        overlap: frames that neighbouring windows share; None: about half of them.
        shortest: shorter side of the frames in pixels; with `longest` it is remembered for other videos.
        longest: the most of the longer side.
        init_from: see `Task`.
        backbone_lr_scale: see `FineTuning`, as for `layer_decay`, `freeze_backbone_steps`, `unfreeze_block_steps` and
            `pretrained_stem`.
        gradient_clip: see `Task`, as for `accumulate`, `ema_decay` and `on_nonfinite`.
    """

    network: InstanceSegmenter

    def __init__(
        self,
        network: InstanceSegmenter,
        loss: InstanceLoss,
        *,
        auxiliary_losses: list[nn.Module] | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        learning_rate_factors: dict[str, float] | None = None,
        schedule: LRSchedulerCallable | None = None,
        schedule_interval: Literal["step", "epoch"] = "step",
        window: int = 36,
        overlap: int | None = None,
        shortest: int = 300,
        longest: int | None = 540,
        init_from: str | None = None,
        backbone_lr_scale: float = 1.0,
        layer_decay: float = 1.0,
        freeze_backbone_steps: int = 0,
        unfreeze_block_steps: int = 0,
        pretrained_stem: bool = True,
        gradient_clip: float | None = 0.1,
        accumulate: int = 1,
        ema_decay: float | None = None,
        on_nonfinite: OnNonFinite = "raise",
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
        if schedule_interval not in ("step", "epoch"):
            raise ConfigurationError(f"task.schedule_interval must be step or epoch, got '{schedule_interval}'")
        if window < 1 or not 0 <= (overlap or 0) < window:
            raise ConfigurationError(
                f"task.overlap={overlap}: windows of {window} frames share 0 to {window - 1} frames"
            )
        if shortest < 1 or (longest is not None and longest < shortest):
            raise ConfigurationError(
                f"task.shortest={shortest}, task.longest={longest}: expected 1 <= shortest <= longest"
            )
        check_optimizer("task.optimizer", optimizer)
        wanted, given = loss.classification, getattr(getattr(network, "decoder", None), "classification", None)
        if wanted and given and wanted != given:
            raise ConfigurationError(
                f"task.loss: {type(loss).__name__} needs task.network.decoder.classification={wanted}, got {given}"
            )
        self.loss = loss
        self.auxiliary_losses = nn.ModuleList(auxiliary_losses or [])
        self.optimizer = optimizer
        self.learning_rate_factors = learning_rate_factors or {}
        self.schedule = schedule
        self.schedule_interval = schedule_interval
        self.window = window
        self.overlap = overlap
        self.shortest = shortest
        self.longest = longest
        self.categories: list[tuple[int, str]] = []
        self.metric: YouTubeVISAP | None = None

    def setup(self, stage: str) -> None:
        """Take the categories from the data, and the weights to begin with.

        Raises:
            ConfigurationError: the data module has none, or another number than the network.
            CheckpointError: `init_from` with nothing that fits.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not hasattr(data, "categories"):
            raise ConfigurationError(
                f"task=vis needs instances, which {type(data).__name__} does not give: "
                "data=sample, youtube_vis, ovis or shards"
            )
        self._take_categories([(category.id, category.name) for category in data.categories])
        if stage == "fit" and self.init_from is not None:
            start_from(self.init_from, {"vis": self})
            self.init_from = None  # another fit goes on

    def training_step(self, batch: InstanceBatch, index: int) -> None:
        """Predict, match, compare, learn."""
        step = self.is_last_of_step()
        output = self.predict(batch)
        if not self.finite(sum_of_outputs(output), batch):  # there would be nothing to match
            return
        losses = self.losses(output, batch)
        if not self.finite(losses, batch):
            return
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        self.update(optimizer, losses["total"], step)
        if step:
            self.after_step()
            if self.schedule_interval == "step":
                self.step_schedules()
        shown = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        short = ("loss/total", "loss/class", "loss/giou", "loss/dice")
        self.log_dict({name: loss for name, loss in shown.items() if name in short}, prog_bar=True)
        self.log_dict({name: loss for name, loss in shown.items() if name not in short})

    def predict(self, batch: InstanceBatch) -> InstanceOutput:
        """Run the network on training clips."""
        return self.network(batch.frames, _padding(batch), targets=batch.targets)

    def losses(self, output: InstanceOutput, batch: InstanceBatch) -> dict[str, Tensor]:
        """Match and compare finite outputs; `total` is the weighted sum of all losses."""
        padding = _padding(batch)
        losses = self.loss(output, batch.targets, padding)
        total = self.loss.total(losses)
        for auxiliary in self.auxiliary_losses:
            others = auxiliary(output, batch.targets, padding)
            total = total + auxiliary.total(others)  # type: ignore[operator]
            losses |= others
        return {**losses, "total": total}

    def on_train_epoch_start(self) -> None:
        """Let a schedule of epochs go on: a run that is resumed after the last batch of an epoch does not end it."""
        if self.schedule_interval == "epoch" and isinstance(schedule := self.lr_schedulers(), LRScheduler):
            for _ in range(schedule.last_epoch, self.current_epoch):
                schedule.step()

    def validation_step(self, batch: InstanceByteBatch, index: int) -> dict[str, Any]:
        """Segment whole videos in windows; the result's `results` are the tracks of each, as in a results file."""
        segmenter = self.segmenter()
        assert self.metric is not None
        results = []
        for frames, (height, width), truth in zip(batch.frames, batch.sizes.tolist(), batch.truth, strict=True):
            size = truth.height, truth.width
            tracks = segmenter.segment_clip(frames[:, :height, :width], size, truth.video_id)
            self.metric.update(tracks, truth.tracks, length=truth.length)
            results.append(tracks)
        return {"results": results}

    def on_validation_epoch_end(self) -> None:
        """Log AP and AR, over all processes."""
        self.log_dict(self.metrics_of_epoch(), sync_dist=True)

    def metrics_of_epoch(self) -> dict[str, Tensor]:
        """AP and AR, over all processes; they start anew."""
        assert self.metric is not None
        values = self.metric.compute()
        self.metric.reset()
        return {f"val/{name}": values[name].float() for name in LOGGED}

    def configure_optimizers(self) -> Any:
        """One optimiser and its schedule."""
        optimizer = self.make_optimizer()
        return [optimizer], [self.schedule(optimizer)] if self.schedule else []

    def make_optimizer(self) -> Optimizer:
        """The optimiser, its groups' learning rates times their factors."""
        if unused := [
            part
            for part in self.learning_rate_factors
            if not any(part in name for name, _ in self.network.named_parameters())
        ]:
            raise ConfigurationError(f"task.learning_rate_factors: no parameter's name has '{unused[0]}' in it")
        return grouped_optimizer(self.optimizer, self.network, self.fine_tuning, factor_of=self._factor_of)

    def _factor_of(self, name: str) -> float:
        """Of a parameter's learning rate."""
        return next((factor for part, factor in self.learning_rate_factors.items() if part in name), 1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the categories."""
        checkpoint["categories"] = [list(category) for category in self.categories]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Know the categories before the weights come."""
        self._take_categories([(int(number), str(name)) for number, name in checkpoint["categories"]])

    def segmenter(self) -> VideoSegmenter:
        """The validated network, for whole videos."""
        return VideoSegmenter(
            self.validated_network,
            frames=self.window,
            overlap=self.overlap,
            classification=self.network.decoder.classification,
            category_ids=[number for number, _ in self.categories],
            shortest=self.shortest,
            longest=self.longest,
            any_length=self.network.decoder.classification == "sigmoid",
        )

    def _take_categories(self, categories: list[tuple[int, str]]) -> None:
        if self.categories and self.categories != categories:
            raise ConfigurationError(
                "the data's categories differ from those of the checkpoint: begin a new run with init_from=RUN"
            )
        self.categories = categories
        self.network.set_classes(len(categories))
        self.average_network()
        if self.metric is None:
            self.metric = YouTubeVISAP([number for number, _ in categories])


def sum_of_outputs(output: InstanceOutput) -> dict[str, Tensor]:
    """One number that is finite if the outputs are, under a name for `SteppedTask.finite`."""
    return {"of the network's outputs": output.logits.sum() + output.boxes.sum() + output.masks.sum()}


def _padding(batch: InstanceBatch) -> Tensor | None:
    return batch.padding if batch.padding.any() else None
