"""Mixed precision: what stays in float32, how close bfloat16 follows, one loss scale for several optimisers."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from lightvid.attention import DeformableAttention
from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.losses import flow_l1, hinge_discriminator_loss, hinge_generator_loss, region_l1
from lightvid.ops import warp
from lightvid.ops.deformable_sampling import deformable_sampling
from lightvid.stems.propagation import SecondOrderAlignment
from lightvid.tasks.base import NonFiniteLossError
from lightvid.tasks.precision import StepScaler, share_scale

QUIET = ["callbacks={}", "loggers={}", "trainer.limit_val_batches=0", "trainer.enable_checkpointing=false"]
QUIET += ["trainer.enable_progress_bar=false"]


class Losses(pl.Callback):
    """The total loss of each step."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(float(trainer.callback_metrics["loss/total"]))


def losses(arguments, precision, steps):
    pl.seed_everything(0, verbose=False)
    run = build(compose([*arguments, f"trainer.precision={precision}", f"trainer.max_steps={steps}"]))
    watch = Losses()
    run.trainer.callbacks.append(watch)
    run.trainer.fit(run.task, run.data)
    assert len(watch.values) == steps
    return torch.tensor(watch.values)


@pytest.mark.parametrize(
    ("task", "each_step", "on_average"),
    # instances: nearly equal scores change places in rounding, and with them the matches that the loss is made of
    [("tiny", 0.01, 0.005), ("tiny_vis", 0.2, 0.06), ("tiny_joint", 0.15, 0.05)],
)
def test_a_run_in_bfloat16_follows_the_loss_of_one_in_float32(request, task, each_step, on_average):
    arguments = request.getfixturevalue(task)(*QUIET)
    full, mixed = (losses(arguments, precision, 20) for precision in ("32-true", "bf16-mixed"))
    assert not torch.equal(full, mixed)
    assert (mixed / full - 1).abs().max() <= each_step
    assert abs(mixed.mean() / full.mean() - 1) <= on_average


class TwoOptimizers(nn.Module):
    """What a scaler needs of a network: two parameters, each of one optimiser."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)


def step_twice(scaler, *, overflow):
    """One step of two optimisers whose gradients are both there before the first steps; the change of the second."""
    network = TwoOptimizers()
    optimizers = [torch.optim.SGD(part.parameters(), lr=1.0) for part in (network.first, network.second)]
    before = network.second.weight.item()
    scaler.scale(network.first.weight.sum() + 2 * network.second.weight.sum()).backward()
    if overflow:
        network.first.weight.grad.fill_(torch.inf)
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    return network.second.weight.item() - before


def test_all_optimisers_of_a_step_share_one_loss_scale():
    assert step_twice(torch.amp.GradScaler("cpu"), overflow=True) == pytest.approx(-4), "twice the gradient of 2"
    scaler = StepScaler("cpu")
    assert step_twice(scaler, overflow=True) == pytest.approx(-2)
    assert scaler.get_scale() == 2**16
    scaler.end_step()
    assert scaler.get_scale() == 2**15
    scaler.end_step()
    assert scaler.get_scale() == 2**15
    step_twice(scaler, overflow=True)
    assert scaler.state_dict()["scale"] == 2**14, "a checkpoint of this moment knows"


class Float16(MixedPrecision):
    """Scaling as on a GPU; the arithmetic is that of float32, which the CPU has everywhere."""

    def __init__(self, **options):
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu", **options))

    def autocast_context_manager(self):
        return torch.autocast("cpu", enabled=False)


class Steps(pl.Callback):
    """The weights of each optimiser around every step, and the loss scale at its beginning.

    `spoil` makes the gradients of that optimiser infinite in the second step.
    """

    def __init__(self, spoil=None):
        self.spoil = spoil
        self.weights, self.scales = [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        scaler = trainer.precision_plugin.scaler if isinstance(trainer.precision_plugin, Float16) else None
        self.scales.append(scaler and scaler.get_scale())
        self.keep(trainer)

    def on_after_backward(self, trainer, pl_module):
        if self.spoil is not None and trainer.global_step == 1:
            for parameter in trainer.optimizers[self.spoil].param_groups[0]["params"]:
                if parameter.grad is not None:
                    parameter.grad.fill_(torch.inf)

    def on_train_end(self, trainer, pl_module):
        self.keep(trainer)

    def keep(self, trainer):
        self.weights.append(
            [[p.detach().clone() for group in o.param_groups for p in group["params"]] for o in trainer.optimizers]
        )

    def moved(self, step, optimizer):
        pairs = zip(self.weights[step][optimizer], self.weights[step + 1][optimizer], strict=True)
        return any(not torch.equal(before, after) for before, after in pairs)


def fit(arguments, steps, plugin=None):
    pl.seed_everything(0, verbose=False)
    run = build(compose([*arguments, *QUIET, "trainer.max_steps=3"]))
    run.trainer.strategy.precision_plugin = plugin
    run.trainer.callbacks.append(steps)
    run.trainer.fit(run.task, run.data)
    return run


SGD = "{class_path: torch.optim.SGD, init_args: {lr: 0.1}}"


def test_float16_changes_no_step_whatever_its_scale_does(tiny, tiny_joint):
    # Sums of products of powers of two are exact, so that a wrong factor is all that could differ.
    inpainting = tiny("task.accumulate=2", *(f"task.{name}_optimizer={SGD}" for name in ("generator", "discriminator")))
    names = ("inpainting.generator_optimizer", "inpainting.discriminator_optimizer", "segmentation.optimizer")
    for arguments in (inpainting, tiny_joint(*(f"task.{name}={SGD}" for name in names))):
        plain, scaled = Steps(), Steps()
        fit(arguments, plain)
        fit(arguments, scaled, Float16(init_scale=2.0**10, growth_interval=1))  # twice as large after every step
        assert scaled.scales[-1] == 2**12
        assert scaled.moved(len(scaled.weights) - 2, 1)
        for before, after in zip(plain.weights[-1], scaled.weights[-1], strict=True):
            torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-7)


def test_an_overflow_of_the_discriminator_leaves_out_its_step_alone_and_is_no_error(tiny):
    steps = Steps(spoil=1)
    run = fit(tiny("task.on_nonfinite=raise"), steps, Float16())
    assert steps.scales == [2**16, 2**16, 2**15]
    assert [steps.moved(step, 1) for step in range(3)] == [True, False, True]
    assert [steps.moved(step, 0) for step in range(3)] == [True, True, True]
    assert run.task.skipped_steps == 0


def test_gradients_that_fit_no_scale_end_the_run(tiny):
    with pytest.raises(NonFiniteLossError, match="not finite at any loss scale"):
        fit(tiny(), Steps(spoil=0), Float16(init_scale=2.0**-25))


def test_a_fused_optimiser_is_refused_where_it_would_hide_its_gradients(tiny):
    fused = "task.generator_optimizer={class_path: torch.optim.Adam, init_args: {lr: 0.1, fused: true}}"
    with pytest.raises(ConfigurationError, match="leave fused out"):
        fit(tiny(fused, "task.discriminator=null"), Steps(), Float16())


def test_a_resumed_run_keeps_its_scale():
    class Trainer:
        precision_plugin = Float16(init_scale=8.0)

    share_scale(Trainer)
    scaler = Trainer.precision_plugin.scaler
    assert isinstance(scaler, StepScaler)
    share_scale(Trainer)
    assert Trainer.precision_plugin.scaler is scaler
    Trainer.precision_plugin.load_state_dict({**Trainer.precision_plugin.state_dict(), "scale": 4.0})
    assert scaler.state_dict()["scale"] == 4


def test_float16_on_a_cpu_is_said_to_be_bfloat16(tiny):
    with pytest.warns(UserWarning, match="Using `precision='bf16-mixed'` instead"):
        build(compose([*tiny(*QUIET), "trainer.precision=16-mixed"]))


def under_autocast(function, *inputs):
    with torch.autocast("cpu", torch.bfloat16):
        return function(*inputs)


def test_losses_and_warps_are_those_of_float32_under_autocast():
    torch.manual_seed(0)
    clips = torch.randn(2, 1, 3, 3, 16, 16)
    masks = (torch.rand(1, 3, 1, 16, 16) > 0.5).float()
    flows = [torch.randn(1, 2, 2, 4, 4) for _ in range(2)]
    maps, flow = torch.randn(1, 4, 16, 16), 3 * torch.randn(1, 2, 16, 16)
    value, reference = torch.randn(1, 2, 8, 8, 2, 4), torch.rand(1, 5, 3)
    offsets, logits = 4 * torch.randn(1, 5, 2, 3, 3), torch.randn(1, 5, 2, 3)
    for function, inputs in (
        (region_l1, (*clips, masks)),
        (flow_l1, ((flows[0], flows[0]), (flows[1], flows[1]))),
        (hinge_discriminator_loss, tuple(clips)),
        (hinge_generator_loss, (clips[0],)),
        (warp, (maps, flow)),
        (deformable_sampling, (value, reference, offsets, logits)),
    ):
        result = under_autocast(function, *inputs)
        assert result.dtype == torch.float32, function
        assert torch.equal(result, function(*inputs)), function


@pytest.mark.parametrize("mode", ["trilinear", "per_frame"])
def test_learned_offsets_are_no_coarser_than_float32_under_autocast(mode):
    torch.manual_seed(0)
    attention = DeformableAttention(16, heads=2, points=6, mode=mode)
    nn.init.normal_(attention.sampling.query.weight, std=0.2)
    tokens = torch.randn(1, 2, 4, 4, 16).bfloat16().float()  # as mixed precision gives them
    exact, _ = attention.sampling(tokens, slice(0, 2))
    offsets, _ = under_autocast(attention.sampling, tokens.bfloat16(), slice(0, 2))
    assert offsets.dtype == torch.float32
    torch.testing.assert_close(offsets, exact, rtol=1e-5, atol=1e-5)
    assert (exact - exact.bfloat16().float()).abs().max() > 5e-3, "what bfloat16 would make of them"


def test_the_alignment_by_flow_predicts_its_offsets_in_float32():
    torch.manual_seed(0)
    align = SecondOrderAlignment(8, groups=2, max_residue=3.0)
    last = align.offsets[-1]
    nn.init.normal_(last.weight, std=0.1)
    seen = []
    last.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    maps, flow = torch.randn(2, 1, 8, 8, 8), torch.randn(1, 2, 8, 8)
    under_autocast(align, maps[0].bfloat16(), maps[1].bfloat16(), flow, None)
    assert seen == [(torch.float32, torch.float32)]
