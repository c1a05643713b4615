"""What beginning with the weights of another run promises."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import nn

from lightvid import cli
from lightvid.backbone import SpatioTemporalTransformer
from lightvid.building import build
from lightvid.checkpoints.formats import FORMATS
from lightvid.checkpoints.transfer import initialise
from lightvid.configuration import compose
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.networks import InpaintingGenerator, sttn
from lightvid.stems import ConvStem
from lightvid.tasks.initialisation import start_from
from lightvid.tasks.parameter_groups import FineTuning
from lightvid.training import train

QUIET = (
    "loggers={}",
    "callbacks={}",
    "trainer.max_steps=1",
    "trainer.limit_val_batches=0",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)
PLAIN = ("callbacks.pictures=null", "trainer.max_steps=2")


@pytest.fixture
def same_backbone(tiny, tiny_vis, tiny_joint):
    """Arguments of the three tasks on one backbone; an inpainting run has its image stem within its own."""
    shape = "{channels: 24, blocks: 1, mixer: {class_path: lightvid.attention.FullAttention, init_args: {heads: 2}}}"
    image = compose(tiny_vis())["task"]["init_args"]["network"]["init_args"]["stem"]["init_args"]
    stem = "task.network.stem"
    of_inpainting = [
        f"{stem}.class_path=lightvid.stems.ImageInpaintingStem",
        f"{stem}.channels=24",
        f"{stem}.inputs=4",
        f"{stem}.image={{class_path: lightvid.stems.ImageStem, init_args: {image}}}".replace("None", "null"),
        "task.network.head.channels=24",
    ]
    backbone = f"backbone.init_args={shape}"
    return {
        "inpaint": lambda *more: tiny(backbone, *of_inpainting, *more),
        "vis": lambda *more: tiny_vis(backbone, *more),
        "joint": lambda *more: tiny_joint(backbone, *more, "callbacks.overlays=null"),
    }


def begun(arguments, source):
    """A task after its setup, its learning rates 0."""
    rates = [a.replace("lr: 1.0e-3", "lr: 0") for a in arguments]
    run = build(compose([*rates, *QUIET, f"init_from={source}"]))
    state = {}
    hook = run.task.on_fit_start
    run.task.on_fit_start = lambda: (state.update({n: v.clone() for n, v in run.task.state_dict().items()}), hook())
    run.trainer.fit(run.task, run.data)
    return state


def below(state, prefix):
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    assert found, prefix
    return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_backbone_and_stem_go_from_any_task_to_any_other(same_backbone, caplog):
    caplog.set_level(logging.INFO, logger="lightvid")
    runs = {task: train([*arguments(), *PLAIN]) for task, arguments in same_backbone.items()}
    saved = {
        task: torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for task, run in runs.items()
    }
    files = {task: run / "checkpoints" / "last.ckpt" for task, run in runs.items()}
    vis_average, joint_average = "network_ema.module.", "segmentation.network_ema.module."

    from_inpaint = begun(same_backbone["vis"](), files["inpaint"])
    for place in ("network.", vis_average):
        assert_same(below(from_inpaint, f"{place}backbone."), below(saved["inpaint"], "network.backbone."))
        assert_same(below(from_inpaint, f"{place}stem."), below(saved["inpaint"], "network.stem.image."))
    assert "decoder" in caplog.text and "nothing" not in caplog.text

    from_vis = begun(same_backbone["inpaint"](), files["vis"])
    assert_same(below(from_vis, "network.backbone."), below(saved["vis"], f"{vis_average}backbone."))
    assert_same(below(from_vis, "network.stem.image."), below(saved["vis"], f"{vis_average}stem."))

    from_joint = begun(same_backbone["vis"](), files["joint"])
    assert_same(below(from_joint, "network."), below(saved["joint"], joint_average))
    from_joint = begun(same_backbone["inpaint"](), files["joint"])
    assert_same(below(from_joint, "network.backbone."), below(saved["joint"], "inpainting.network.backbone."))

    to_joint = begun(same_backbone["joint"](), files["inpaint"])
    for part in ("inpainting", "segmentation"):
        assert_same(below(to_joint, f"{part}.network.backbone."), below(saved["inpaint"], "network.backbone."))
    assert_same(below(to_joint, f"{joint_average}stem."), below(saved["inpaint"], "network.stem.image."))


def test_a_run_records_its_start_and_a_resumed_one_does_not_take_it_again(tiny, capsys):
    first = train(tiny("name=first", *PLAIN))
    second = train(tiny("name=second", *PLAIN, f"init_from={first}"))
    assert yaml.safe_load((second / "config.yaml").read_text())["init_from"] == str(first)
    (first / "checkpoints" / "best.ckpt").unlink()
    (first / "checkpoints" / "last.ckpt").rename(first / "kept.ckpt")
    train([f"resume={second}", "trainer.max_steps=3"])
    with pytest.raises(CheckpointError, match=r"first: a folder without checkpoints/best\.ckpt"):
        train([f"config={second / 'config.yaml'}"])
    with pytest.raises(ConfigurationError, match="resume and init_from exclude each other"):
        train([f"resume={second}", f"init_from={first}"])


def test_a_published_checkpoint_gives_what_fits_and_the_report_says_what_does_not(tmp_path):
    file = tmp_path / "sttn.pth"
    torch.save({"netG": published_names(published := sttn(blocks=2))}, file)
    network = InpaintingGenerator(
        ConvStem(256, inputs=4), SpatioTemporalTransformer(256, blocks=1), nn.Identity(), mask_input=True
    )
    report = str(initialise({"inpaint": network}, f"sttn={file}"))
    block = network.backbone.blocks[0].state_dict()
    assert_same(block, published.backbone.blocks[0].state_dict())
    parameters = sum(value.numel() for value in block.values())
    assert f"{len(block)} matched ({parameters:,} parameters), {len(block)} left out (backbone.blocks.1." in report
    assert "7 matched" in report and "1 of another shape (stem.layers.0.weight, ...)" in report
    assert report.splitlines()[-1].split()[:3] == ["head", "0", "matched"]


def published_names(network):
    names = {mine: theirs for theirs, mine in FORMATS["sttn"].names(network).items()}
    return {names[name]: value for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "missing: no such run or checkpoint to start from"),
        ("stnn=weights.pth", "no format 'stnn': choose one of"),
        ("spynet=here.pth", "here.pth: no such run or checkpoint"),
    ],
)
def test_a_wrong_source_ends_before_anything_is_built_in_one_line(tiny, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        train(tiny(f"init_from={source}"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


class Hostile:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_does_not_fit_is_refused_in_one_line_and_never_executed(tmp_path, capsys):
    network = {"inpaint": sttn(blocks=1)}
    for content, message in (
        ({"lightvid_config": {}, "state_dict": {"network.other": torch.zeros(1)}}, "nothing in it fits this network"),
        ({"lightvid_config": {}, "state_dict": {"discriminator.x": torch.zeros(1)}}, "holds no network"),
        ({"netG": {}}, "no checkpoint of a run; published ones: init_from=NAME=FILE"),
        ({"lightvid_config": Hostile()}, "holds objects that need code"),
    ):
        torch.save(content, tmp_path / "file.ckpt")
        with pytest.raises(CheckpointError, match=message) as caught:
            initialise(network, str(tmp_path / "file.ckpt"))
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_the_command_line_takes_it_as_an_option_and_make_as_a_variable(monkeypatch):
    taken = []
    monkeypatch.setattr("lightvid.training.train", taken.append)
    for given in (["--init-from", "runs/a b"], ["--init-from=runs/a b"], ["init_from=runs/a b"]):
        monkeypatch.setattr(sys, "argv", ["lightvid", "train", "task=vis", *given])
        cli.main()
    assert taken == [["task=vis", "init_from=runs/a b"]] * 3
    printed = subprocess.run(
        ["make", "-n", "train", "TASK=vis", "INIT_FROM=runs/a b"], capture_output=True, text=True, check=True
    )
    assert 'init_from="runs/a b"' in printed.stdout


def test_a_stem_that_is_frozen_at_its_own_start_is_warned_of(tmp_path, caplog):
    network = sttn(blocks=1)
    backbone = {f"network.backbone.{name}": value for name, value in network.backbone.state_dict().items()}
    torch.save({"lightvid_config": {}, "state_dict": backbone}, tmp_path / "file.ckpt")
    for tuning, warned in (
        (FineTuning(), False),
        (FineTuning(freeze_backbone_steps=1), True),
        (FineTuning(freeze_backbone_steps=1, pretrained_stem=False), False),
    ):
        caplog.clear()
        task = SimpleNamespace(network=network, fine_tuning=tuning, network_ema=None)
        start_from(str(tmp_path / "file.ckpt"), {"inpaint": task})
        assert ("task.pretrained_stem=false spares it" in caplog.text) is warned


def test_a_joint_run_is_warned_of_each_frozen_stem_that_found_nothing(tmp_path, caplog):
    inpainting = sttn(blocks=1)
    trained = {f"network.{name}": value for name, value in inpainting.state_dict().items()}
    torch.save({"lightvid_config": {}, "state_dict": trained}, tmp_path / "file.ckpt")
    segmentation = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 7), "backbone": inpainting.backbone})
    for frozen, warned in (("vis", True), ("inpaint", False)):
        caplog.clear()
        tasks = {
            name: SimpleNamespace(
                network=network, network_ema=None, fine_tuning=FineTuning(freeze_backbone_steps=int(name == frozen))
            )
            for name, network in (("inpaint", inpainting), ("vis", segmentation))
        }
        start_from(str(tmp_path / "file.ckpt"), tasks)
        assert ("task.segmentation.pretrained_stem=false spares it" in caplog.text) is warned
        assert "task.inpainting.pretrained_stem" not in caplog.text
