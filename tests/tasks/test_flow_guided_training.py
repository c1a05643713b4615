"""What training of flow-guided networks promises."""

import math

import pytest
import pytorch_lightning as pl
import torch

from lightvid import networks
from lightvid.building import build, check
from lightvid.checkpoints.building import build as build_module
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.losses import DISTeacher, FlowTeacher
from lightvid.tasks import base
from lightvid.tasks.base import NonFiniteLossError
from lightvid.training import train


class Record(pl.Callback):
    """What was logged after each batch."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.losses.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def prepare(tiny, *more: str):
    """A run of the training loop alone, with a flow-guided network unless `more` says otherwise."""
    quiet = ["trainer.enable_checkpointing=false", "trainer.enable_progress_bar=false", "trainer.limit_val_batches=0"]
    chosen = [] if any(argument.startswith("backbone=") for argument in more) else ["backbone=flow"]
    pl.seed_everything(0, verbose=False)
    return build(compose(tiny(*chosen, "loggers={}", "callbacks={}", *quiet, *more)))


def fit(tiny, *more: str):
    run, record = prepare(tiny, *more), Record()
    run.trainer.callbacks.append(record)
    run.trainer.fit(run.task, run.data)
    return run, record.losses


def flow_parameters(task) -> list[torch.nn.Parameter]:
    return list(task.network.stem.propagation.flow.parameters())


def copies(parameters) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


def changed(parameters, before) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(parameters, before, strict=True))


@pytest.mark.parametrize("backbone", ["flow", "psal,flow", "reversible,flow", "e2fgvi", "e2fgvi,checkpoint"])
def test_flow_guidance_goes_with_every_backbone(tiny, backbone):
    run, losses = fit(tiny, f"backbone={backbone}", "trainer.max_steps=1")
    assert run.trainer.global_step == 1
    assert {"loss/hole", "loss/valid", "loss/flow", "loss/adversarial"} <= set(losses[0])
    assert losses[0]["loss/flow"] > 0


def test_the_total_adds_the_weighted_flow_loss(tiny):
    _, (losses,) = fit(tiny, "trainer.max_steps=1", "task.discriminator=null", "task.flow_weight=3")
    expected = losses["loss/hole"] + losses["loss/valid"] + 3 * losses["loss/flow"]
    assert losses["loss/total"] == pytest.approx(expected, rel=1e-5)


class EverythingMoves(FlowTeacher):
    """By a pixel to the right and half a pixel down, whatever the frames show."""

    def estimate(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.5]).view(2, 1, 1).expand(len(first), 2, first.shape[2] // 4, first.shape[3] // 4)


def test_the_network_learns_the_flow_that_its_teacher_gives(tiny):
    pairs = ["clip.frames=2", "data.reference_frames=0"]
    steps = ["trainer.max_steps=30", "task.schedule=null", "task.generator_optimizer.lr=0.003"]
    run, record = prepare(tiny, "task.discriminator=null", *pairs, *steps), Record()
    run.task.flow_teacher = EverythingMoves()
    run.trainer.callbacks.append(record)
    run.trainer.fit(run.task, run.data)
    flow = [losses["loss/flow"] for losses in record.losses]
    assert flow[0] > 1.2  # the mean of 1 and 0.5 in both directions is 1.5, and the network knows little yet
    assert flow[-1] < 0.5


def test_the_teacher_sees_the_local_frames_without_holes_and_the_network_knows_their_number(tiny):
    run = prepare(tiny, "trainer.max_steps=1", "data.reference_frames=2")
    seen, told = [], []
    teacher = run.task.flow_teacher
    run.task.flow_teacher = lambda frames: (seen.append(frames), teacher(frames))[1]
    run.task.network.register_forward_pre_hook(lambda _, args, options: told.append((*args, options)), with_kwargs=True)
    run.trainer.fit(run.task, run.data)
    ((frames, masks, options),) = told
    assert frames.shape[1] == 5
    assert options == {"local_frames": 3}
    assert seen[0].shape[1] == 3
    hidden = masks[:, :3].expand_as(seen[0]) > 0
    assert torch.equal(seen[0].masked_fill(hidden, 0), frames[:, :3])
    assert seen[0][hidden].abs().mean() > 0.1


def test_losses_of_the_restored_frames_count_references_too(tiny):
    off = ["task.flow_weight=0", "task.discriminator=null"]
    run = prepare(tiny, "trainer.max_steps=1", "data.reference_frames=2", *off)
    seen, record = [], Record()
    run.trainer.callbacks.append(record)
    run.task.network.register_forward_hook(lambda _, args, output: seen.append((args[1], output.frames)))
    begin = run.data.on_after_batch_transfer
    run.data.on_after_batch_transfer = lambda batch, index: (seen.append(begin(batch, index)), seen[-1])[1]
    run.trainer.fit(run.task, run.data)
    batch, (masks, frames) = seen
    assert frames.shape[1] == 5
    expected = ((frames.detach() - batch.frames) * masks).abs().mean() / masks.mean()
    assert record.losses[0]["loss/hole"] == pytest.approx(float(expected), rel=1e-5)


def test_mixed_precision_follows_float32(tiny):
    _, full = fit(tiny, "trainer.max_steps=4")
    _, mixed = fit(tiny, "trainer.max_steps=4", "trainer.precision=bf16-mixed")
    for name in ("loss/flow", "loss/total"):
        assert [loss[name] for loss in mixed] == pytest.approx([loss[name] for loss in full], rel=0.05)


def test_a_resumed_run_ends_with_the_same_weights_and_checkpoints_hold_no_teacher(tiny):
    def weights(run):
        return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)

    common = ["backbone=flow", "task.schedule=null", "task.flow_learning_rate_factor=0.5"]
    whole = weights(train(tiny("name=whole", *common)))
    half = train(tiny("name=half", *common, "trainer.max_steps=2"))
    train([f"resume={half}", "trainer.max_steps=4"])
    resumed = weights(half)
    assert all(torch.equal(tensor, resumed["state_dict"][name]) for name, tensor in whole["state_dict"].items())
    parts = {".".join(name.split(".")[:1]) for name in whole["state_dict"]}
    assert parts == {"network", "discriminator"}


def test_the_flow_network_may_learn_at_a_part_of_the_rate_which_schedules_keep(tiny):
    schedule = (
        "task.schedule={class_path: torch.optim.lr_scheduler.MultiStepLR, init_args: {milestones: [2], gamma: 0.1}}"
    )
    run, _ = fit(tiny, "task.flow_learning_rate_factor=0.25", "trainer.max_steps=3", schedule)
    flow, others = run.trainer.optimizers[0].param_groups
    assert (others["lr"], flow["lr"]) == (pytest.approx(1e-4), pytest.approx(0.25e-4))
    assert {id(p) for p in flow["params"]} == {id(p) for p in flow_parameters(run.task)}
    assert len(others["params"]) + len(flow["params"]) == len(list(run.task.network.parameters()))


def test_a_factor_of_zero_freezes_the_flow_network_alone(tiny):
    run = prepare(tiny, "task.flow_learning_rate_factor=0", "trainer.max_steps=2")
    flow, before = flow_parameters(run.task), copies(flow_parameters(run.task))
    rest = [p for p in run.task.network.parameters() if all(p is not other for other in flow)]
    rest_before = copies(rest)
    run.trainer.fit(run.task, run.data)
    assert not changed(flow, before)
    assert changed(rest, rest_before)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["backbone=additive", "task.flow_weight=1"], ["task.flow_teacher", "DISTeacher"]),
        (["backbone=additive", "task.flow_learning_rate_factor=0.5"], ["flow_learning_rate_factor=0.5", "no flow"]),
        (["task.flow_learning_rate_factor=-1"], ["flow_learning_rate_factor=-1", "at least 0"]),
        (["task.flow_teacher=lightvid.losses.SPyNetTeacher"], ["spynet_20210409-c6c1bd09.pth", "DISTeacher"]),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(tiny, arguments, parts):
    with pytest.raises(ConfigurationError) as caught:
        prepare(tiny, *arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["task.network.stem.propagation=null"], ["task.flow_weight", "backbone=flow"]),
        (["clip.frames=1"], ["task.flow_weight", "two consecutive frames"]),
        (["data.sampling=mixed", "data.reference_frames=0"], ["data.sampling=mixed", "local_and_reference"]),
    ],
)
def test_a_flow_loss_without_flow_is_refused_in_one_line(tiny, arguments, parts):
    run = prepare(tiny, *arguments)
    with pytest.raises(ConfigurationError) as caught:
        run.trainer.fit(run.task, run.data)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts)


class BreakStep(pl.Callback):
    """Make the teacher's flow, or else one gradient, NaN at one batch, and look at what that batch changes."""

    def __init__(self, what: str, batch: int = 2) -> None:
        self.what = what
        self.batch = batch
        self.before: list[torch.Tensor] = []
        self.after: list[torch.Tensor] = []

    def on_train_start(self, trainer, pl_module) -> None:
        parameter = flow_parameters(pl_module)[0]
        if self.what == "gradient":
            parameter.register_hook(lambda gradient: gradient * math.nan if self.broken else gradient)
        teacher = pl_module.flow_teacher
        pl_module.flow_teacher = lambda frames: tuple(
            flow * math.nan if self.broken and self.what == "flow" else flow for flow in teacher(frames)
        )

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.broken = batch_idx == self.batch
        if self.broken:
            self.before = self._state(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if self.broken:
            self.after = self._state(trainer, pl_module)

    def _state(self, trainer, pl_module) -> list[torch.Tensor]:
        """The generator's weights and its optimiser's memory of former gradients."""
        adam = trainer.optimizers[0].state
        return [*copies(pl_module.network.parameters()), *(state["exp_avg"].clone() for state in adam.values())]


@pytest.mark.parametrize("what", ["flow", "gradient"])
def test_a_step_with_a_nan_flow_loss_or_gradient_can_be_left_out_and_leaves_no_trace(tiny, what):
    run, spoiler = prepare(tiny, "task.on_nonfinite=skip", "trainer.max_steps=5"), BreakStep(what)
    run.trainer.callbacks.append(spoiler)
    run.trainer.fit(run.task, run.data)
    assert run.task.skipped_steps == 1
    assert len(spoiler.before) > len(list(run.task.network.parameters()))
    assert not changed(spoiler.after, spoiler.before)
    assert changed(run.task.network.parameters(), spoiler.before[: len(list(run.task.network.parameters()))])
    assert all(parameter.isfinite().all() for parameter in run.task.parameters())


@pytest.mark.parametrize(
    ("what", "named"),
    [("flow", "loss flow is not finite for .*train"), ("gradient", r"network\.stem\.propagation\.flow")],
)
def test_a_nan_flow_loss_or_gradient_stops_a_run_before_it_changes_the_weights(tiny, what, named):
    run, spoiler = prepare(tiny, "trainer.max_steps=5"), BreakStep(what)
    run.trainer.callbacks.append(spoiler)
    with pytest.raises(NonFiniteLossError, match=named) as caught:
        run.trainer.fit(run.task, run.data)
    assert "\n" not in str(caught.value)
    assert not changed(run.task.network.parameters(), spoiler.before[: len(list(run.task.network.parameters()))])


def test_a_run_that_only_leaves_out_steps_ends(tiny, monkeypatch):
    monkeypatch.setattr(base, "MOST_SKIPPED", 4)
    run = prepare(tiny, "task.on_nonfinite=skip", "trainer.max_epochs=1")
    with torch.no_grad():
        flow_parameters(run.task)[0].fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="3 steps before: go back to a checkpoint"):
        run.trainer.fit(run.task, run.data)
    assert run.task.skipped_steps == 4


@pytest.mark.parametrize("name", ["e2fgvi", "e2fgvi_hq"])
def test_recipes_describe_the_published_network_and_training(name):
    plain = compose([f"paper={name}", "data.root=x", "loggers={}", "task.flow_teacher=lightvid.losses.DISTeacher"])
    check(plain)
    task, data = plain["task"]["init_args"], plain["data"]["init_args"]
    with torch.device("meta"):
        preset = getattr(networks, name)()
        network = build_module(task["network"])
        discriminator = build_module(task["discriminator"])
    assert {n: p.shape for n, p in network.named_parameters()} == {n: p.shape for n, p in preset.named_parameters()}
    for part in ("pad_to", "pad_mode", "mask_input"):
        assert getattr(network, part) == getattr(preset, part)
    assert sum(p.numel() for p in network.parameters()) == {"e2fgvi": 41_799_743, "e2fgvi_hq": 41_117_887}[name]
    assert sum(p.numel() for p in discriminator.parameters()) == 4_461_728
    assert not discriminator.merge_batch_into_time
    assert (data["frames"], data["reference_frames"], data["batch_size"]) == (5, 3, 8)
    assert (data["height"], data["width"], data["sampling"]) == (240, 432, "local_and_reference")
    weights = [task[f"{part}_weight"] for part in ("hole", "valid", "adversarial", "flow")]
    assert weights == [1, 1, 0.01, 1]
    assert task["generator_optimizer"]["init_args"] == {"lr": 1e-4, "betas": [0.0, 0.99]}
    assert task["schedule"]["init_args"] == {"milestones": [400_000], "gamma": 0.1}
    assert (task["gradient_clip"], task["flow_learning_rate_factor"], task["ema_decay"]) == (None, 1, None)


def test_a_recipe_gives_the_weights_of_the_flow_network_to_its_teacher():
    plain = compose(["paper=e2fgvi", "data.root=x", "task.network.stem.propagation.flow.weights=spynet.pth"])
    assert plain["task"]["init_args"]["flow_teacher"]["init_args"] == {"weights": "spynet.pth"}


def test_a_teacher_is_chosen_by_name_over_that_of_a_recipe(tiny):
    run = prepare(tiny, "task.flow_teacher.preset=fast")
    assert isinstance(run.task.flow_teacher, DISTeacher)
    assert run.task.flow_teacher.preset == "fast"
