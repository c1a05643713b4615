"""What freezing and gradual release promise."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.tasks.parameter_groups import FineTuning, hold_statistics
from lightvid.tasks.resuming import refuse_changes
from lightvid.training import train

QUIET = (
    "loggers={}",
    "callbacks={}",
    "trainer.limit_val_batches=0",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)


class Movements(pl.Callback):
    """Which parts of a network each batch has changed."""

    def __init__(self, network_of=lambda task: task.network):
        self.network_of, self.batches = network_of, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        state = self.network_of(pl_module).state_dict()
        self.before = {name: value.clone() for name, value in state.items()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        state = self.network_of(pl_module).state_dict()
        moved = [name for name, value in state.items() if not torch.equal(value, self.before[name])]
        parts = {".".join(name.split(".")[: 3 if ".blocks." in name else 1]) for name in moved}
        self.batches.append(parts & {"stem", "head", "decoder", "backbone.blocks.0", "backbone.blocks.1"})


def fit(arguments, watch):
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    run.trainer.callbacks.append(watch)
    run.trainer.fit(run.task, run.data)
    return run


BLOCKS = {"backbone.blocks.0", "backbone.blocks.1"}


def test_blocks_are_released_from_the_last_to_the_first_and_then_the_stem(tiny):
    decay = "task.generator_optimizer={class_path: torch.optim.AdamW, init_args: {lr: 0.001, weight_decay: 0.1}}"
    released = ["task.freeze_backbone_steps=1", "task.unfreeze_block_steps=1", decay]
    watch = Movements()
    fit(tiny(*QUIET, "backbone.blocks=2", *released), watch)
    assert watch.batches == [
        {"head"},
        {"head", "backbone.blocks.1"},
        {"head", *BLOCKS},
        {"head", "stem", *BLOCKS},
    ]


def test_frozen_weights_are_those_of_the_average_too_and_the_stem_may_be_spared(tiny_vis):
    freeze = ["task.freeze_backbone_steps=2", "task.pretrained_stem=false", "task.ema_decay=0.9"]
    frozen = [*QUIET, "backbone.blocks=2", *freeze, "trainer.max_steps=3"]
    watch, of_average = Movements(), Movements(lambda task: task.network_ema.module)
    run = build(compose(tiny_vis(*frozen)))
    run.trainer.callbacks += [watch, of_average]
    run.trainer.fit(run.task, run.data)
    assert watch.batches == [{"stem", "decoder"}, {"stem", "decoder"}, {"stem", "decoder", *BLOCKS}]
    assert all(not parts & BLOCKS for parts in of_average.batches[:2])


def test_steps_are_counted_by_accumulated_batches_in_a_joint_run_for_both_optimisers(tiny_joint):
    options = ["task.segmentation.freeze_backbone_steps=1", "task.accumulate=2", "trainer.max_steps=2"]
    segmenter = Movements(lambda task: task.segmentation.network)
    generator = Movements(lambda task: task.inpainting.network)
    run = build(compose(tiny_joint(*QUIET, *options)))
    run.trainer.callbacks += [segmenter, generator]
    run.trainer.fit(run.task, run.data)
    assert segmenter.batches == [set(), {"decoder"}, set(), {"decoder", "stem", "backbone.blocks.0"}]
    assert generator.batches == [set(), {"head"}, set(), {"head", "stem", "backbone.blocks.0"}]


def test_a_resumed_run_releases_at_the_same_step(tiny):
    options = ["backbone.blocks=2", "task.freeze_backbone_steps=3", "callbacks.pictures=null"]
    whole = train(tiny("name=whole", *options))
    part = train(tiny("name=part", *options, "trainer.max_steps=2", "task.schedule.T_max=4"))
    train([f"resume={part}", "trainer.max_steps=4"])
    one, other = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, part))
    assert all(torch.equal(one["state_dict"][name], value) for name, value in other["state_dict"].items())
    steps = {int(state["step"]) for state in other["optimizer_states"][0]["state"].values()}
    assert steps == {1, 4}  # those of the backbone and of the head


@pytest.fixture
def frozen_run(tiny):
    return train(tiny("task.freeze_backbone_steps=3", "trainer.max_steps=2", "callbacks.pictures=null"))


@pytest.mark.parametrize("change", ["freeze_backbone_steps=1", "unfreeze_block_steps=1", "pretrained_stem=False"])
def test_a_resumed_run_keeps_its_layers(frozen_run, change):
    """Some changes alter the groups of the optimiser; others it would not follow."""
    option, _, value = change.partition("=")
    before = {"freeze_backbone_steps": 3, "unfreeze_block_steps": 0, "pretrained_stem": True}[option]
    message = f"task.{option}={value} was {before} when this run began.*init_from"
    with pytest.raises(ConfigurationError, match=message) as caught:
        train([f"resume={frozen_run}", "trainer.max_steps=4", f"task.{change}"])
    assert "\n" not in str(caught.value)
    train([f"resume={frozen_run}", "trainer.max_steps=3"])


def test_a_joint_configuration_is_compared_part_by_part_and_older_ones_by_their_defaults(tiny_joint):
    now = compose(tiny_joint("task.segmentation.layer_decay=0.5"))["task"]
    refuse_changes(now, now)
    with pytest.raises(ConfigurationError, match=r"task\.\w+\.layer_decay=0.5 was 1.0"):
        refuse_changes({}, now)
    refuse_changes({}, compose(tiny_joint())["task"])


def test_other_groups_of_an_optimiser_are_refused_in_one_line(tiny_vis):
    run = train(tiny_vis("trainer.max_steps=2", "trainer.limit_val_batches=0"))
    with pytest.raises(ConfigurationError, match="other groups of parameters") as caught:
        train([f"resume={run}", "trainer.max_steps=3", "task.network.stem.frozen=1"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_statistics_of_batch_normalisation_hold_still_until_their_layer_is_released(kind):
    network = nn.Module()
    network.stem, network.head = nn.Sequential(nn.Conv2d(3, 4, 1), kind(4)), nn.Sequential(kind(4))
    network.train()
    tuning = FineTuning(freeze_backbone_steps=2)
    modes = []
    for step in range(4):
        hold_statistics(network, tuning, step)
        modes.append((network.stem[1].training, network.head[0].training))
    assert modes == [(False, True), (False, True), (True, True), (True, True)]
