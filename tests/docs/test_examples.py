"""The examples of the documentation work as it says."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lightvid.backbone import MLP, SpatioTemporalTransformer
from lightvid.training import train

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))


def test_a_mixer_of_ones_own_trains_in_a_reversible_backbone(tiny):
    run = train(tiny(f"backbone={EXAMPLES / 'shift.yaml'},reversible"))
    assert run.name == "shift-reversible-sample"
    assert json.loads((run / "results.json").read_text())["lightvid"]["psnr"] > 10


def test_that_mixer_sees_the_neighbouring_frames_alone_and_has_exact_gradients_when_reversible():
    from shift import ShiftMixer

    mixer = ShiftMixer(8).double()
    x = torch.randn(1, 5, 4, 4, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(mixer(x)[:, 2].sum(), x)
    assert [bool(frame.any()) for frame in gradient[0]] == [False, True, True, True, False]
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        parts = {"mixer": ShiftMixer, "feed_forward": MLP, "residual": "reversible", "recompute": recompute}
        net = SpatioTemporalTransformer(8, blocks=2, **parts).double()
        gradients.append(torch.autograd.grad(net(x).square().sum(), [x, *net.parameters()]))
    for plain, rebuilt in zip(*gradients, strict=True):
        torch.testing.assert_close(rebuilt, plain)


def test_a_dataset_of_ones_own_trains(tiny, sample_root, tmp_path):
    davis = sample_root / "davis"
    names = sorted(path.name for path in (davis / "JPEGImages" / "480p").iterdir())[:3]
    for split, chosen in (("train", names[:2]), ("val", names[2:])):
        for name in chosen:
            for kind, folder in (("JPEGImages", "frames"), ("Annotations", "masks")):
                shutil.copytree(davis / kind / "480p" / name, tmp_path / "pairs" / split / name / folder)
    arguments = [argument for argument in tiny() if not argument.startswith("data.root")]
    run = train([*arguments, f"data={EXAMPLES / 'removal_pairs.yaml'}", f"data.root={tmp_path / 'pairs'}"])
    assert run.name == "additive-removal_pairs"


def test_a_task_of_ones_own_trains_and_resumes(sample_root, tmp_path):
    small = ["clip.height=32", "clip.width=48", "clip.frames=3", "backbone.channels=16", "backbone.blocks=1"]
    small += ["task.network.stem.channels=16", "task.network.head.channels=16", "data.workers=0"]
    quick = ["trainer.max_steps=4", "trainer.val_check_interval=2", "callbacks.last.every_n_train_steps=2"]
    places = [f"data.root={sample_root}", f"out={tmp_path}", "trainer.accelerator=cpu", "callbacks.progress=null"]
    run = train([f"task={EXAMPLES / 'denoising.yaml'}", *small, *quick, *places])
    assert run == tmp_path / "denoising" / "additive-sample"
    assert json.loads((run / "results.json").read_text())["lightvid"]["psnr"] > 5
    train([f"resume={run}", "trainer.max_steps=6"])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
