"""Two processes train as one process does with the batches of both."""

import pytest
import torch
from observed_runs import QUIET, observe

from lightvid.datamodules import DAVIS
from lightvid.datamodules.shards.writing import write_shards

SGD = "{class_path: torch.optim.SGD, init_args: {lr: %s, weight_decay: 0}}"
GAN = [f"task.{network}_optimizer={SGD % 0.1}" for network in ("generator", "discriminator")]
GAN += ["task.schedule=null", "task.adversarial_weight=1", "task.gradient_clip=1.0"]
VIS = [f"task.optimizer={SGD % 0.05}", "task.schedule=null"]
JOINT = [
    *(f"task.inpainting.{network}_optimizer={SGD % 0.1}" for network in ("generator", "discriminator")),
    f"task.segmentation.optimizer={SGD % 0.05}",
    "task.inpainting.schedule=null",
    "task.segmentation.schedule=null",
    "task.inpainting.adversarial_weight=1",
    "task.balance=uncertainty",
]
FIND_UNUSED, PER_NETWORK, SHARDED = (
    f"trainer.strategy={name}" for name in ("ddp_find_unused_parameters_true", "ddp_per_network", "fsdp")
)


def fixed_draws(network, task):
    """Leave out what draws numbers of its own on each process: regions, and class heads made for the data's classes."""
    only = f"{task}.auxiliary_losses=[{{class_path: lightvid.losses.CentreLoss}}]"
    return [f"{network}.region_classifier=null", f"{network}.decoder.classes=5", only]


def assert_equal(one, two, *, tolerance=2e-5):
    """The same losses and weights as one process, and the very same weights on both."""
    first, second = two
    for name, weight in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, atol=tolerance, rtol=tolerance)
    # A moving average has no start of its own.
    moved = [float((one["weights"][name] - weight).abs().max()) for name, weight in one["start"].items()]
    assert max(moved) > 20 * tolerance  # else nothing would have been learned
    for alone, *shared in zip(one["losses"], first["losses"], second["losses"], strict=True):
        for name, loss in alone.items():
            mean = sum(losses[name] for losses in shared) / 2
            if name != "loss/class_error":  # a share of each process's own boxes
                assert mean == pytest.approx(loss, rel=tolerance, abs=tolerance), name
    for alone, *shared in zip(one["files"], first["files"], second["files"], strict=True):
        assert sorted(alone) == sorted([*shared[0], *shared[1]])
    assert sorted(one["found"]) == sorted([*first["found"], *second["found"]])
    for video, scores in (first["found"] | second["found"]).items():
        assert scores == pytest.approx(one["found"][video], abs=tolerance), video
    alone, *shared = (observed["metrics"] for observed in (one, first, second))
    assert shared[0] == shared[1] == pytest.approx(alone, abs=1e-4)  # of decibels; AP and AR are in [0, 1]
    assert all(0.05 < alone[name] < 0.95 for name in alone if name in ("val/AP", "val/AR100"))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([FIND_UNUSED], id="find unused"),
        pytest.param([PER_NETWORK], id="each network in its own"),
        pytest.param([PER_NETWORK, "backbone=reversible", "task.accumulate=2"], id="reversible, accumulated"),
        pytest.param([FIND_UNUSED, "backbone=checkpoint", "task.accumulate=2"], id="checkpointed, accumulated"),
    ],
)
def test_inpainting(tiny, pair, options):
    one = observe(tiny(*QUIET, *GAN, *options, "data.batch_size=4"))
    two = pair(tiny(*QUIET, *GAN, *options, "data.batch_size=2"))
    assert_equal(one, two)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="additive"),
        pytest.param(["backbone=deformable,reversible", "task.accumulate=2"], id="reversible, accumulated"),
        pytest.param([SHARDED, "backbone=deformable,reversible", "task.accumulate=2"], id="in parts, reversible"),
    ],
)
def test_instance_segmentation(tiny_vis, pair, options):
    common = [*QUIET, *VIS, *options, *fixed_draws("task.network", "task"), "data.augmentation=none"]
    one = observe(tiny_vis(*common, "data.batch_size=4"))
    two = pair(tiny_vis(*common, "data.batch_size=2"))
    assert_equal(one, two)


def test_both_tasks_at_once(tiny_joint, pair):
    parts = fixed_draws("task.segmentation.network", "task.segmentation")
    common = [*QUIET, *JOINT, *parts, "data.segmentation.augmentation=none", "callbacks.overlays=null"]

    def sizes(batch):
        return [f"data.{task}.batch_size={batch}" for task in ("inpainting", "segmentation")]

    assert_equal(observe(tiny_joint(*common, *sizes(4))), pair(tiny_joint(*common, *sizes(2))))


def test_a_backbone_that_is_frozen_at_first(tiny, pair):
    options = [*QUIET, *GAN, "task.freeze_backbone_steps=2", PER_NETWORK]
    assert_equal(observe(tiny(*options, "data.batch_size=4")), pair(tiny(*options, "data.batch_size=2")))


def test_a_run_resumed_in_the_middle_of_an_epoch_goes_on_as_the_whole_one(tiny, pair, tmp_path):
    # An epoch has six global batches: three come before the checkpoint, three after it, and one of the next epoch.
    options = [*QUIET, PER_NETWORK, "data.batch_size=2", "data.clips_per_video=1", "backbone=reversible"]
    options += ["task.schedule=null"]
    whole = pair(tiny(*options, "trainer.max_steps=7"))
    first = pair(tiny(*options, "trainer.max_steps=3"), save=str(tmp_path))
    second = pair(tiny(*options, "trainer.max_steps=7"), resume=f"{tmp_path}/last.ckpt")
    for rank in (0, 1):
        assert first[rank]["files"] + second[rank]["files"] == whole[rank]["files"]
        assert all(torch.equal(w, second[rank]["weights"][name]) for name, w in whole[rank]["weights"].items())


@pytest.mark.parametrize("data", ["folder", "shards"])
def test_an_epoch_of_an_odd_number_of_clips_has_each_once_and_leaves_one_out(tiny, pair, data, sample_root, tmp_path):
    # 24 clips in batches of 5 over two processes: two steps of ten, and four clips that another epoch takes.
    options = [*QUIET, "data.batch_size=5", "data.clips_per_video=1", "trainer.max_steps=2"]
    if data == "shards":
        write_shards(DAVIS(f"{sample_root}/davis"), tmp_path, shard_bytes=2_000_000)
        options += ["data=shards", f"data.root={tmp_path}"]
    first, second = pair(tiny(*options))
    seen = [file.split(" [")[0] for of_process in (first, second) for files in of_process["files"] for file in files]
    assert [len(of_process["files"]) for of_process in (first, second)] == [2, 2]
    assert len(seen) == len(set(seen)) == 20
