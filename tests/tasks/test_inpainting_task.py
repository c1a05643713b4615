"""What a training step of the inpainting task promises."""

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.metrics import InpaintingMetrics
from lightvid.tasks.base import NonFiniteLossError


def fit(arguments: list[str], *callbacks: pl.Callback):
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    run.trainer.callbacks += callbacks
    run.trainer.fit(run.task, run.data)
    return run


def bare(tiny, *more: str) -> list[str]:
    """No validation, no files: the training loop alone."""
    quiet = ["trainer.enable_checkpointing=false", "trainer.enable_progress_bar=false"]
    return tiny("trainer.limit_val_batches=0", "loggers={}", "callbacks={}", *quiet, *more)


def sgd(learning_rate: float) -> list[str]:
    networks = ("generator", "discriminator")
    return [f"task.{n}_optimizer={{class_path: torch.optim.SGD, init_args: {{lr: {learning_rate}}}}}" for n in networks]


class HideEverything(pl.Callback):
    """Make every frame one hole, so that the hole loss is a plain mean and averages over batches."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        batch.masks.fill_(1)


class RecordLosses(pl.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append(float(trainer.callback_metrics["loss/total"]))


def losses_of(arguments: list[str]) -> list[float]:
    record = RecordLosses()
    fit(arguments, record)
    return record.losses


def test_a_global_step_is_a_generator_step(tiny):
    run = fit(bare(tiny, "trainer.max_steps=5"))
    assert run.trainer.global_step == 5
    assert run.trainer.fit_loop.total_batch_idx + 1 == 5


def test_accumulation_takes_several_batches_a_step_for_both_networks(tiny):
    run = fit(bare(tiny, "trainer.max_steps=2", "task.accumulate=3"))
    assert run.trainer.global_step == 2
    assert run.trainer.fit_loop.total_batch_idx + 1 == 6
    generator, discriminator = run.trainer.optimizers
    for optimizer in (generator, discriminator):
        assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def test_accumulating_two_batches_equals_one_of_twice_the_size(tiny):
    common = ["task.discriminator=null", "task.gradient_clip=null", "trainer.max_steps=2", *sgd(0.1)]
    one = fit(bare(tiny, "data.batch_size=4", *common), HideEverything())
    two = fit(bare(tiny, "data.batch_size=2", "task.accumulate=2", *common), HideEverything())
    start = build(compose(bare(tiny, *common))).task.network.state_dict()
    for name, weight in one.task.network.state_dict().items():
        assert torch.allclose(weight, two.task.network.state_dict()[name], atol=1e-5)
    assert any(
        not torch.allclose(weight, start[name], atol=1e-3) for name, weight in one.task.network.state_dict().items()
    )


def test_accumulation_goes_on_across_validations_and_epochs(tiny):
    common = [
        "task.discriminator=null",
        "task.gradient_clip=null",
        "trainer.max_steps=8",
        "task.accumulate=5",
        *sgd(0.1),
    ]
    plain = fit(bare(tiny, "data.batch_size=2", *common), HideEverything())
    validated = [argument for argument in bare(tiny, *common) if "limit_val_batches" not in argument]
    often = fit([*validated, "data.batch_size=2", "trainer.val_check_interval=2"], HideEverything())
    for a, b in zip(plain.task.network.parameters(), often.task.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert plain.trainer.fit_loop.total_batch_idx + 1 == 40


def test_learning_rate_schedules_step_once_a_generator_step_for_both_optimisers(tiny):
    schedule = (
        "task.schedule={class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [2], gamma: 0.1}}"
    )
    run = fit(bare(tiny, "trainer.max_steps=3", schedule))
    assert run.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4)
    assert run.trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(1e-5)


def test_clipping_bounds_the_gradient_that_the_optimiser_sees(tiny):
    arguments = bare(tiny, "trainer.max_steps=1", "task.gradient_clip=0.001", *sgd(1.0))
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    before = [p.detach().clone() for p in run.task.network.parameters()]
    run.trainer.fit(run.task, run.data)
    moved = [b - a.detach() for a, b in zip(run.task.network.parameters(), before, strict=True)]
    assert math.sqrt(sum(float(m.square().sum()) for m in moved)) == pytest.approx(0.001, rel=1e-3)


def test_clipping_sees_unscaled_gradients_under_a_gradient_scaler(tiny):
    pl.seed_everything(0, verbose=False)
    built = build(compose(bare(tiny, "task.gradient_clip=0.001", *sgd(1.0))))
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "limit_val_batches": 0}
    trainer = pl.Trainer(accelerator="cpu", max_steps=1, plugins=[precision], **options)
    before = [p.detach().clone() for p in built.task.network.parameters()]
    trainer.fit(built.task, built.data)
    moved = [b - a.detach() for a, b in zip(built.task.network.parameters(), before, strict=True)]
    assert math.sqrt(sum(float(m.square().sum()) for m in moved)) == pytest.approx(0.001, rel=1e-2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_generators_loss_leaves_no_gradient_in_the_discriminator(tiny, precision):
    run = fit(bare(tiny, "trainer.max_steps=1", f"trainer.precision={precision}"))
    assert all(parameter.grad is None for parameter in run.task.discriminator.parameters())


def test_training_works_without_a_discriminator(tiny):
    run = fit(bare(tiny, "trainer.max_steps=2", "task.discriminator=null"))
    assert run.trainer.global_step == 2


@pytest.mark.parametrize("residual", ["reversible", "reversible_split"])
def test_reversible_training_follows_plain_autograd(tiny, residual):
    arguments = [f"backbone.residual={residual}", "backbone.blocks=2", "trainer.max_steps=8"]
    rebuilt = losses_of(bare(tiny, *arguments))
    plain = losses_of(bare(tiny, *arguments, "backbone.recompute=false"))
    assert rebuilt == pytest.approx(plain, rel=2e-4)
    assert len(set(rebuilt)) == 8


def test_bf16_mixed_follows_float32(tiny):
    full = losses_of(bare(tiny, "trainer.max_steps=8"))
    mixed = losses_of(bare(tiny, "trainer.max_steps=8", "trainer.precision=bf16-mixed"))
    assert mixed == pytest.approx(full, rel=0.05)


def test_a_nan_stops_the_run_naming_the_files_of_the_batch(tiny):
    run = build(compose(bare(tiny)))
    with torch.no_grad():
        next(run.task.network.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLossError) as caught:
        run.trainer.fit(run.task, run.data)
    assert "hole" in str(caught.value)
    assert "sample" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_nan_step_can_be_left_out_and_is_counted(tiny, capsys):
    run = build(compose(bare(tiny, "task.on_nonfinite=skip", "trainer.max_epochs=1", "trainer.limit_train_batches=3")))
    with torch.no_grad():
        next(run.task.network.parameters()).fill_(float("nan"))
    before = [parameter.detach().clone() for parameter in run.task.discriminator.parameters()]
    run.trainer.fit(run.task, run.data)
    assert run.task.skipped_steps == 3
    assert run.trainer.global_step == 0
    assert all(torch.equal(a, b) for a, b in zip(run.task.discriminator.parameters(), before, strict=True))


def test_a_window_of_ssim_that_does_not_exist_or_does_not_fit_is_refused():
    with pytest.raises(ConfigurationError, match="ssim_window must be one of gaussian, uniform65, got 'foo'"):
        InpaintingMetrics(ssim_window="foo")
    clip = torch.rand(1, 1, 3, 10, 12)
    with pytest.raises(
        ConfigurationError, match="ssim_window=gaussian needs frames of at least 11 x 11 pixels, got 10"
    ):
        InpaintingMetrics().update(clip, clip, torch.ones(1, 1, 1, 10, 12))


def test_the_moving_average_is_what_is_validated(tiny):
    run = fit(bare(tiny, "task.ema_decay=0.5", "trainer.max_steps=3"))
    average = run.task.network_ema.module.state_dict()
    assert any(not torch.equal(average[name], value) for name, value in run.task.network.state_dict().items())
    with torch.no_grad():
        for parameter in run.task.network.parameters():
            parameter.fill_(float("nan"))
    run.trainer.limit_val_batches = 1.0
    run.trainer.validate(run.task, run.data, verbose=False)
    assert math.isfinite(run.trainer.callback_metrics["val/hole_psnr"])
