"""What layer-wise learning rates promise."""

import pytest
import torch
from torch import nn

from lightvid.backbone import LearnedPositions, SpatioTemporalTransformer
from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.tasks.parameter_groups import FineTuning, grouped_optimizer

QUIET = ("loggers={}", "callbacks={}", "trainer.enable_checkpointing=false", "trainer.enable_progress_bar=false")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.backbone = SpatioTemporalTransformer(
            8, blocks=3, norm="pre", positions=LearnedPositions(8, height=2, width=2), final_norm=True
        )
        self.head = nn.Linear(8, 3)


def rates(optimizer, network):
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {names[p]: group["lr"] for group in optimizer.param_groups for p in group["params"]}


def sgd(groups):
    return torch.optim.SGD(groups, lr=1.0)


def test_each_layer_learns_slower_than_the_one_above_it():
    network = Network()
    found = rates(grouped_optimizer(sgd, network, FineTuning(layer_decay=0.5)), network)
    expected = {
        "head.": 1.0,
        "backbone.final_norm.": 0.5,
        "backbone.blocks.2.": 0.5,
        "backbone.blocks.1.": 0.25,
        "backbone.blocks.0.": 0.125,
        "backbone.positions.": 0.0625,
        "stem.": 0.0625,
    }
    assert set(found) == {name for name, _ in network.named_parameters()}
    for name, rate in found.items():
        assert rate == next(value for prefix, value in expected.items() if name.startswith(prefix)), name


def test_the_scale_multiplies_backbone_and_stem_and_other_factors():
    network = Network()
    tuning = FineTuning(backbone_lr_scale=0.1, layer_decay=0.5)
    halved = grouped_optimizer(sgd, network, tuning, factor_of=lambda name: 0.5 if name.endswith("bias") else 1.0)
    found = rates(halved, network)
    assert (found["head.weight"], found["head.bias"]) == (1.0, 0.5)
    assert found["backbone.blocks.2.mixer.query.weight"] == pytest.approx(0.05)
    assert found["backbone.blocks.2.mixer.query.bias"] == pytest.approx(0.025)
    assert found["stem.weight"] == pytest.approx(0.00625)


def test_a_stem_with_its_own_start_learns_as_the_heads_do():
    network = Network()
    found = rates(grouped_optimizer(sgd, network, FineTuning(layer_decay=0.5, pretrained_stem=False)), network)
    assert found["stem.weight"] == found["head.weight"] == 1.0
    assert found["backbone.blocks.0.mixer.query.weight"] == 0.125


def test_without_options_all_parameters_are_one_group_in_their_order():
    network = Network()
    (group,) = grouped_optimizer(sgd, network, FineTuning()).param_groups
    assert all(p is q for p, q in zip(group["params"], network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_decay": 0}, "task.layer_decay=0: expected a number above 0, at most 1"),
        ({"layer_decay": 1.5}, "task.layer_decay=1.5"),
        ({"backbone_lr_scale": 0}, "task.freeze_backbone_steps freezes the backbone"),
        ({"freeze_backbone_steps": -1}, "task.freeze_backbone_steps=-1 counts steps"),
        ({"unfreeze_block_steps": -1}, "task.unfreeze_block_steps=-1 counts steps"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        FineTuning(**options)
    assert "\n" not in str(caught.value)


def test_a_network_without_blocks_cannot_be_slowed_down():
    with pytest.raises(ConfigurationError, match=r"a Linear has no backbone\.blocks"):
        grouped_optimizer(sgd, nn.Linear(1, 1), FineTuning(layer_decay=0.5))


OPTIONS = ["trainer.max_steps=1", "trainer.limit_val_batches=0", "backbone.blocks=2", *QUIET]


def fitted(arguments):
    run = build(compose(arguments))
    run.trainer.fit(run.task, run.data)
    return run


def test_the_options_reach_both_single_tasks(tiny, tiny_vis):
    given = [*OPTIONS, "task.layer_decay=0.5", "task.backbone_lr_scale=0.1", "task.schedule=null"]
    for arguments in (tiny(*given), tiny_vis(*given)):
        run = fitted(arguments)
        found = rates(run.trainer.optimizers[0], run.task.network)
        top, bottom = (found[f"backbone.blocks.{block}.mixer.value.weight"] for block in (1, 0))
        assert top == pytest.approx(0.05 * 1e-3) and bottom == pytest.approx(0.025 * 1e-3)
        offsets = {name: rate for name, rate in found.items() if ".sampling." in name and "blocks.1" in name}
        assert all(rate == pytest.approx(0.1 * top) for rate in offsets.values())
        assert max(found.values()) == pytest.approx(1e-3)


def test_in_a_joint_run_they_are_said_once(tiny_joint):
    constant = ["task.inpainting.schedule=null", "task.segmentation.schedule=null"]
    run = fitted(tiny_joint(*OPTIONS, *constant, "task.segmentation.layer_decay=0.5"))
    shared, generator, *_ = run.trainer.optimizers
    found = rates(shared, run.task.segmentation.network) | rates(generator, run.task.inpainting.network)
    assert found["backbone.blocks.1.mixer.value.weight"] == pytest.approx(0.5e-3)
    assert found["stem.layers.0.weight"] == found["stem.projection.weight"] == pytest.approx(0.125e-3)
    assert found["head.layers.1.weight"] == pytest.approx(1e-3)
