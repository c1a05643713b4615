"""`lightvid export`: a program that answers as the network does, for other clips too where it says so."""

import json
import subprocess
import sys

import pytest
import torch

from lightvid import exporting
from lightvid.checkpoints.building import build
from lightvid.commands.export import run
from lightvid.configuration import compose
from lightvid.errors import CheckpointError, ConfigurationError

SMALL_INPAINT = [
    "task=inpaint",
    "clip.height=32",
    "clip.width=48",
    "clip.frames=3",
    "backbone.channels=16",
    "backbone.blocks=1",
    "task.network.stem.channels=16",
    "task.network.head.channels=16",
]
SMALL_VIS = [
    "task=vis",
    "clip.height=32",
    "clip.width=56",
    "clip.frames=3",
    "backbone.channels=24",
    "backbone.blocks=1",
    "task.network.stem.options={embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], layer_type: basic}",
    "task.network.stem.tokens_from=-1",
    "task.network.decoder.queries.instances=4",
    "task.network.decoder.hidden=32",
    "task.network.mask_head.width=8",
]


@pytest.fixture
def checkpoint(tmp_path):
    """Writes what a run of a configuration would, and answers its folder."""

    def write(*arguments):
        plain = compose([*(SMALL_VIS if "task=vis" in arguments else SMALL_INPAINT), *arguments])
        torch.manual_seed(0)
        network = build(plain["task"]["init_args"]["network"])
        content = {"lightvid_config": plain}
        if "task=vis" in arguments:
            network.set_classes(3)
            content["categories"] = [[number, f"class {number}"] for number in (1, 2, 3)]
        content["state_dict"] = {f"network.{name}": value for name, value in network.state_dict().items()}
        (tmp_path / "run/checkpoints").mkdir(parents=True, exist_ok=True)
        torch.save(content, tmp_path / "run/checkpoints/best.ckpt")
        return tmp_path / "run"

    return write


@pytest.mark.parametrize("backbone", ["full", "deformable", "focal", "psal"])
def test_a_generator_is_exported_for_clips_of_any_number_and_length(checkpoint, tmp_path, capsys, backbone):
    out = tmp_path / "network.pt2"
    run([str(checkpoint(f"backbone={backbone}")), "-o", str(out), "--dynamic"])
    assert "any batch, any frames, 48x32; largest difference to the network" in capsys.readouterr().out
    program, description = exporting.load(out)
    assert (description.inputs, description.outputs) == (["masked_frames", "masks"], ["frames"])
    (frames,) = program.module()(torch.zeros(1, 5, 3, 32, 48), torch.zeros(1, 5, 1, 32, 48))
    assert frames.shape == (1, 5, 3, 32, 48)


@pytest.mark.parametrize("backbone", ["full", "focal", "psal"])
def test_a_segmenter_is_exported_with_any_mixer(checkpoint, tmp_path, backbone):
    run([str(checkpoint("task=vis", f"backbone={backbone}")), "-o", str(tmp_path / "network.pt2"), "--frames", "1"])
    assert (tmp_path / "network.pt2").exists()


def test_a_segmenter_gives_logits_boxes_and_masks_for_any_clips(checkpoint, tmp_path, capsys):
    out = tmp_path / "network.pt2"
    run([str(checkpoint("task=vis", "backbone=deformable")), "-o", str(out), "--dynamic", "--frames", "2"])
    printed = capsys.readouterr().out
    assert "any batch, any frames, 56x32" in printed
    assert "import lightvid.ops before it is loaded" in printed
    program, description = exporting.load(out)
    logits, boxes, masks = program.module()(torch.randn(1, 4, 3, 32, 56))
    assert description.outputs == ["logits", "boxes", "masks"]
    assert (logits.shape, boxes.shape, masks.shape) == ((1, 4, 4, 3), (1, 4, 4, 4), (1, 4, 4, 8, 14))


def test_importing_the_operators_makes_a_program_that_holds_one_loadable(checkpoint, tmp_path):
    out = tmp_path / "network.pt2"
    run([str(checkpoint("backbone=deformable")), "-o", str(out)])
    code = f"import torch, lightvid.ops; print(len(torch.export.load({str(out)!r}).state_dict))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert int(answer.stdout) > 0


def test_each_network_of_a_joint_run_is_exported_for_its_own_frames(tmp_path, capsys):
    clip = ["clip.height=32", "clip.width=48", "clip.frames=2", "clip.shortest=40"]
    plain = compose(["task=joint", "backbone.channels=48", "backbone.blocks=1", *clip])
    content = {"lightvid_config": plain, "categories": [[1, "dog"]], "state_dict": {}}
    for part in ("inpainting", "segmentation"):
        network = build(plain["task"]["init_args"][part]["init_args"]["network"])
        if part == "segmentation":
            network.set_classes(1)
        content["state_dict"] |= {f"{part}.network.{name}": value for name, value in network.state_dict().items()}
    torch.save(content, tmp_path / "joint.ckpt")
    for task, frame in (("inpaint", "48x32"), ("vis", "60x40")):
        run([str(tmp_path / "joint.ckpt"), "--task", task, "-o", str(tmp_path / f"{task}.pt2")])
        assert f"batch 1, 2 frames, {frame}" in capsys.readouterr().out


def test_size_and_length_may_be_chosen_and_are_then_fixed(checkpoint, tmp_path, capsys):
    out = tmp_path / "network.pt2"
    run([str(checkpoint()), "-o", str(out), "--size", "40x24", "--frames", "2"])
    assert "batch 1, 2 frames, 40x24" in capsys.readouterr().out
    program, description = exporting.load(out)
    assert (description.shape, description.free) == ([1, 2, 3, 24, 40], [])
    with pytest.raises(AssertionError):
        program.module()(torch.zeros(1, 3, 3, 24, 40), torch.zeros(1, 3, 1, 24, 40))


def test_the_program_runs_in_a_process_without_lightvid(checkpoint, tmp_path):
    out = tmp_path / "network.pt2"
    run([str(checkpoint("backbone=reversible")), "-o", str(out)])
    code = f"""
import sys, json, torch
extra = {{"lightvid.json": ""}}
program = torch.export.load({str(out)!r}, extra_files=extra)
(frames,) = program.module()(torch.zeros(1, 3, 3, 32, 48), torch.zeros(1, 3, 1, 32, 48))
assert "lightvid" not in sys.modules
print(json.dumps([list(frames.shape), json.loads(extra["lightvid.json"])["operators"]]))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(answer.stdout) == [[1, 3, 3, 32, 48], []]


def test_flow_guided_networks_keep_their_clips_and_say_so(checkpoint, tmp_path, capsys):
    run([str(checkpoint("backbone=flow")), "-o", str(tmp_path / "network.pt2"), "--dynamic", "--frames", "2"])
    printed = capsys.readouterr().out
    assert "batch 1, 2 frames" in printed
    assert "kept as they are, for this network's program depends on them: batch, frames" in printed


def test_a_program_that_answers_differently_is_not_kept_and_an_earlier_one_is(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "network.pt2"
    out.write_bytes(b"earlier")
    monkeypatch.setattr(exporting, "difference", lambda *arguments: 2e-4)
    with pytest.raises(ConfigurationError, match=r"not kept, its answers differ from the network's by 0\.0002"):
        run([str(checkpoint()), "-o", str(out)])
    assert list(tmp_path.glob("*.pt2")) == [out]
    assert out.read_bytes() == b"earlier"


def test_a_program_that_fails_its_check_is_not_kept_and_an_earlier_one_is(checkpoint, tmp_path, monkeypatch):
    def fails(*arguments):
        raise ConfigurationError("the exported program fails for 3 clips")

    out = tmp_path / "network.pt2"
    out.write_bytes(b"earlier")
    monkeypatch.setattr(exporting, "difference", fails)
    with pytest.raises(ConfigurationError, match="fails for 3 clips"):
        run([str(checkpoint()), "-o", str(out)])
    assert list(tmp_path.glob("*.pt2")) == [out]
    assert out.read_bytes() == b"earlier"


def test_answers_that_are_not_numbers_are_not_kept(checkpoint, tmp_path):
    folder = checkpoint()
    file = folder / "checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    for value in content["state_dict"].values():
        value.fill_(float("nan"))
    torch.save(content, file)
    with pytest.raises(ConfigurationError, match="not kept, its answers differ from the network's by inf"):
        run([str(folder), "-o", str(tmp_path / "network.pt2")])
    assert list(tmp_path.glob("*.pt2")) == []


def test_a_run_of_another_task_is_refused(checkpoint, tmp_path):
    folder = checkpoint()
    with pytest.raises(ConfigurationError, match="a run with task=inpaint: leave out --task vis"):
        run([str(folder), "--task", "vis", "-o", str(tmp_path / "a.pt2")])
    file = folder / "checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    content["lightvid_config"]["choice"]["task"] = "denoising"
    torch.save(content, file)
    for task in ([], ["--task", "inpaint"]):
        with pytest.raises(CheckpointError, match="task=denoising; export knows task=inpaint, vis and joint") as caught:
            run([str(folder), *task, "-o", str(tmp_path / "a.pt2")])
        assert "\n" not in str(caught.value)


def test_mistakes_are_one_line(checkpoint, tmp_path):
    folder = checkpoint()
    for arguments, kind, message in (
        ([str(folder), "-o", str(tmp_path / "network.onnx")], ConfigurationError, "a .pt2 file"),
        ([str(tmp_path / "nowhere"), "-o", str(tmp_path / "a.pt2")], CheckpointError, "nowhere: no such checkpoint"),
        ([str(tmp_path), "-o", str(tmp_path / "a.pt2")], CheckpointError, "no run with a checkpoint"),
        (["--published", f"spynet={folder}", "-o", str(tmp_path / "a.pt2")], ConfigurationError, "spynet: neither"),
        (["-o", str(tmp_path / "a.pt2")], ConfigurationError, "checkpoint"),
    ):
        with pytest.raises(kind, match=message) as caught:
            run(arguments)
        assert "\n" not in str(caught.value)
