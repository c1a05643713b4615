"""Training with a part of every parameter on each of two processes, against whole networks."""

import pytest
import torch
from observed_runs import QUIET, observe
from pytorch_lightning.plugins import MixedPrecision

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.tasks import FullyShardedSegmenter

# Without what draws numbers of its own on each process, and with an epsilon that does not make rounding errors of
# gradients, near 0, as large as a step.
COMMON = [
    *QUIET,
    "task.optimizer={class_path: torch.optim.AdamW, init_args: {lr: 3e-3, eps: 1e-3, weight_decay: 1e-2}}",
    "task.network.region_classifier=null",
    "task.network.decoder.classes=5",
    "task.auxiliary_losses=[{class_path: lightvid.losses.CentreLoss}]",
    "data.augmentation=none",
    "backbone.blocks=2",
    "task.schedule=null",
    "task.gradient_clip=0.5",
    "task.freeze_backbone_steps=3",
    "task.backbone_lr_scale=0.1",
    "task.on_nonfinite=skip",
    "trainer.limit_val_batches=2",
    "trainer.val_check_interval=3",
]
FSDP = "trainer.strategy=fsdp"


def test_a_run_goes_on_from_one_process_to_parts_and_back_as_with_whole_networks(tiny_vis, pair, tmp_path):
    """Steps without instances on one process are among them, and steps left out for numbers that are not finite."""
    options = [*COMMON, "backbone=deformable,checkpoint"]
    alone = [*options, "data.batch_size=4"]
    whole = pair(tiny_vis(*options, "trainer.max_steps=7"), trouble=True)
    observe(tiny_vis(*alone, "trainer.max_steps=2"), save=f"{tmp_path}/2")
    saved = {"resume": f"{tmp_path}/2/last.ckpt", "save": f"{tmp_path}/6"}
    parts = pair(tiny_vis(*options, FSDP, "trainer.max_steps=6"), trouble=True, **saved)
    last = observe(tiny_vis(*alone, "trainer.max_steps=7"), resume=f"{tmp_path}/6/last.ckpt", save=f"{tmp_path}/7")
    for name, weight in whole[0]["weights"].items():
        torch.testing.assert_close(last["weights"][name], weight, atol=2e-5, rtol=2e-5)
    for rank in (0, 1):
        losses, expected = ([step["loss/total"] for step in run[rank]["losses"]] for run in (parts, whole))
        assert losses == pytest.approx(expected[2 : 2 + len(losses)], rel=1e-4)
    held = [of_process["held"] for of_process in parts]
    assert sum(held) == whole[0]["held"] == whole[1]["held"]  # of parameters, gradients and state of the optimiser
    assert max(held) < 0.51 * sum(held)
    of_parts, usual = (torch.load(f"{tmp_path}/{steps}/last.ckpt", weights_only=True) for steps in (6, 7))
    assert shapes(of_parts["state_dict"]) == shapes(usual["state_dict"])
    assert shapes(of_parts["optimizer_states"][0]["state"]) == shapes(usual["optimizer_states"][0]["state"])


def shapes(state):
    """What a state holds, without the numbers."""
    if isinstance(state, dict):
        return {key: shapes(value) for key, value in state.items()}
    return type(state), state.dtype, state.shape


def test_bfloat16_computes_as_with_whole_networks(tiny_vis, pair):
    options = [*COMMON, "trainer.max_steps=2", "trainer.precision=bf16-mixed", "task.ema_decay=null"]
    options += ["trainer.num_sanity_val_steps=1"]  # before any step
    whole, parts = (pair(tiny_vis(*options, *strategy))[0] for strategy in ([], [FSDP]))
    for expected, step in zip(whole["losses"], parts["losses"], strict=True):
        assert step["loss/total"] == pytest.approx(expected["loss/total"], rel=1e-3)
    assert all(value.dtype != torch.bfloat16 for value in parts["weights"].values())


@pytest.mark.parametrize("task", ["tiny", "tiny_joint"])
def test_networks_that_learn_in_turns_are_refused_in_one_line(task, request):
    with pytest.raises(ConfigurationError, match=r"fsdp is for task=vis, .*: trainer.strategy=ddp_find") as caught:
        set_up(request.getfixturevalue(task)())
    assert "\n" not in str(caught.value)


def test_what_parts_do_not_go_with_is_refused_in_one_line(tiny_vis):
    with pytest.raises(ConfigurationError, match=r"trainer\.precision=32-true or bf16-mixed, not 16-mixed"):
        set_up(tiny_vis(), precision=MixedPrecision("16-mixed", "cpu"))
    with pytest.raises(ConfigurationError, match="compile=true"):
        set_up(tiny_vis(), compiled=True)


def set_up(arguments, *, precision=None, compiled=False):
    """What happens before any process is asked."""
    task = build(compose(arguments)).task
    if compiled:
        task.compile_networks()
    strategy = FullyShardedSegmenter(precision_plugin=precision)
    strategy.connect(task)
    strategy.setup(None)
