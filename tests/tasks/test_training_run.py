"""A run from the command line: what it leaves, that it goes on exactly, and that it can be repeated."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from offline_runs import ended_offline_files, read_offline_runs

import lightvid.checkpoints
from lightvid.errors import CheckpointError, ConfigurationError, DataError
from lightvid.tasks import Inpainting
from lightvid.training import evaluate, train

# The run and its data workers end at once, in the step after a save.
KILLED_IN_A_STEP = """
import os, signal
from lightvid import cli
from lightvid.tasks import Inpainting
step = Inpainting.training_step
def training_step(self, batch, batch_idx):
    if self.trainer.global_step == 7:
        os.killpg(0, signal.SIGKILL)
    return step(self, batch, batch_idx)
Inpainting.training_step = training_step
cli.main()
"""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def best_score(run: Path) -> float:
    callbacks = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    return next(float(state["best_model_score"]) for name, state in callbacks.items() if "hole_psnr" in name)


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_checkpoints_metrics_pictures_and_a_table(tiny, capsys):
    run = train(tiny("name=whole", "loggers.wandb.mode=offline", "backbone=reversible"))
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml", "metrics.csv", "results.json"):
        assert (run / name).is_file(), name
    assert {path.name for path in (run / "pictures").iterdir()} == {"step_0000002.png", "step_0000004.png", "final.png"}
    assert {path.name for path in (run / "videos").iterdir()} == {"step_0000002.mp4", "step_0000004.mp4", "final.mp4"}
    results = json.loads((run / "results.json").read_text())
    assert set(results) == {"lightvid", "mean colour", "nearest visible frame", "cv2.inpaint (Telea)"}
    assert all(set(row) == {"psnr", "ssim", "hole_psnr"} for row in results.values())
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for column in ("hole", "valid", "adversarial", "discriminator", "total"):
        assert sum(bool(row[f"loss/{column}"]) for row in rows) == 4
    assert sum(bool(row["val/hole_psnr"]) for row in rows) >= 2
    printed = capsys.readouterr().out
    assert str(run) in printed
    assert "cv2.inpaint (Telea)" in printed
    media = [path.suffix for path in (run / "wandb").rglob("media/**/*") if path.is_file()]
    assert media.count(".png") >= 2
    assert media.count(".mp4") >= 2
    (record,) = ended_offline_files(run)
    content = record.read_bytes()
    for written in (
        b"loss/hole",
        b"val/hole_psnr",
        b"val/pictures",
        b"val/video",
        b"adversarial_weight",
        b"reversible",
    ):
        assert written in content, written


def test_a_checkpoint_of_ours_loads_through_lightning_and_through_lightvid(tiny):
    run = train(tiny("name=loads"))
    file = run / "checkpoints" / "last.ckpt"
    task = Inpainting.load_from_checkpoint(file, map_location="cpu").eval()
    generator = lightvid.checkpoints.load("sttn", file)
    discriminator = lightvid.checkpoints.load("t_patchgan", file)
    frames, masks = torch.randn(1, 2, 3, 32, 48), torch.ones(1, 2, 1, 32, 48)
    with torch.no_grad():
        assert torch.equal(task.network(frames, masks).frames, generator(frames, masks).frames)
        assert torch.equal(task.discriminator(frames), discriminator(frames))


def test_a_run_killed_in_the_middle_of_an_epoch_resumes_to_the_same_weights(tiny, tmp_path):
    # 24 clips in batches of 2: an epoch has 12 steps, so the kill falls into the first and the end into the second.
    common = [
        "trainer.max_steps=16",
        "trainer.val_check_interval=5",
        "data.workers=2",
        "callbacks.last.every_n_train_steps=3",
    ]
    whole = train(tiny("name=whole", *common))
    command = [sys.executable, "-c", KILLED_IN_A_STEP, "train", *tiny("name=killed", *common)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, start_new_session=True)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    killed = whole.parent / "killed"
    assert torch.load(killed / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    assert train([f"resume={killed}"]) == killed
    assert_same(weights(killed), weights(whole))
    assert best_score(killed) == best_score(whole)
    assert json.loads((killed / "results.json").read_text()) == json.loads((whole / "results.json").read_text())
    steps = [int(row["step"]) for row in csv.DictReader((killed / "metrics.csv").open()) if row["loss/total"]]
    # The row of the very step that was saved last may be lost; no row stands twice.
    assert steps == [step for step in range(16) if step in steps]
    assert set(range(16)) - set(steps) <= {5}


def test_the_saved_configuration_reproduces_the_run_in_a_new_folder(tiny):
    first = train(tiny("name=first"))
    written = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    second = train([f"config={first / 'config.yaml'}"])
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()} == written
    assert {path.name for path in second.iterdir()} == {path.name for path in first.iterdir()}
    assert_same(weights(first), weights(second))


def test_a_finished_run_goes_on_as_if_it_had_not_stopped(tiny):
    constant = "task.schedule=null"
    longer = train(tiny("name=longer", constant, "trainer.max_steps=6"))
    resumed = train(tiny("name=resumed", constant, "trainer.max_steps=4"))
    train([f"resume={resumed}", "trainer.max_steps=6"])
    assert_same(weights(resumed), weights(longer))


def test_accumulation_averaging_and_reversible_blocks_resume_exactly(tiny):
    options = ["task.accumulate=3", "task.ema_decay=0.9", "backbone=fast_sttn", "data.batch_size=1"]
    cadence = ["trainer.val_check_interval=4", "callbacks.last.every_n_train_steps=2", "task.schedule=null"]
    whole = train(tiny("name=whole", *options, *cadence, "trainer.max_steps=6"))
    half = train(tiny("name=half", *options, *cadence, "trainer.max_steps=2"))
    train([f"resume={half}", "trainer.max_steps=6"])
    assert_same(weights(half), weights(whole))


def test_a_row_that_was_cut_off_does_not_stand_in_the_way(tiny):
    run = train(tiny("name=cut"))
    metrics = run / "metrics.csv"
    metrics.write_text(metrics.read_text() + "0.1,0.")
    train([f"resume={run}", "trainer.max_steps=5"])
    steps = [int(row["step"]) for row in csv.DictReader(metrics.open()) if row["loss/total"]]
    assert steps == list(range(5))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_cannot_be_resumed_from_is_named_and_nothing_is_touched(tiny, content):
    run = train(tiny("name=broken", "trainer.max_steps=1"))
    last = run / "checkpoints" / "last.ckpt"
    torch.save({"weight": torch.ones(1)}, last) if content is None else last.write_bytes(content)
    written = (run / "config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=r"last\.ckpt") as caught:
        train([f"resume={run}", "trainer.max_steps=2"])
    assert "\n" not in str(caught.value)
    assert (run / "config.yaml").read_bytes() == written


def test_evaluate_repeats_the_table(tiny):
    run = train(tiny("name=again"))
    assert evaluate([f"run={run}"]) == json.loads((run / "results.json").read_text())


def test_a_taken_name_and_a_missing_run_are_answered_in_one_line(tiny, tmp_path):
    train(tiny("name=taken", "trainer.max_steps=1"))
    with pytest.raises(ConfigurationError, match="holds a run already: resume="):
        train(tiny("name=taken"))
    with pytest.raises(CheckpointError, match="did you mean 'taken'"):
        train([f"resume={tmp_path / 'runs' / 'inpaint' / 'takn'}"])


def test_the_command_prints_one_line_and_fails_for_a_mistake():
    result = subprocess.run(
        [sys.executable, "-m", "lightvid", "train", "task.adversarial_wieght=0.1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "did you mean 'adversarial_weight'" in result.stderr


def test_a_broken_frame_ends_the_run_in_one_line_or_is_skipped_and_counted(tiny, tmp_path, sample_root):
    broken = tmp_path / "broken"
    shutil.copytree(sample_root, broken)
    video = broken / "davis" / "JPEGImages" / "480p" / "train-03"
    for frame in video.iterdir():
        frame.unlink()
        frame.write_bytes(b"not a picture")
    davis = ["data=davis", f"data.root={broken / 'davis'}", "data.clips_per_video=1", "trainer.max_steps=13"]
    command = [sys.executable, "-m", "lightvid", "train", *tiny("name=raise", *davis)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("lightvid: ")
    assert "train-03" in last
    with pytest.warns(UserWarning, match=r"epoch 0, .*skipped 1 clips .*train-03"):
        train(tiny("name=skip", "data.on_error=skip", *davis))


def test_a_run_after_one_that_failed_has_its_own_wandb_run(tiny, monkeypatch):
    def fail(self, batch, index):
        raise DataError("broken")

    offline = ("loggers.wandb.mode=offline", "callbacks.pictures=null", "trainer.max_steps=1")
    with monkeypatch.context() as patch:
        patch.setattr(Inpainting, "training_step", fail)
        with pytest.raises(DataError, match="broken"):
            train(tiny("name=failed", *offline))
    run = train(tiny("name=after", *offline))
    assert len(read_offline_runs(run)) == 1


def test_a_run_that_epochs_end_between_two_saves_loses_no_step(tiny):
    epochs = ["trainer.max_steps=-1", "trainer.limit_train_batches=3", "callbacks.pictures=null"]
    rest = ["trainer.val_check_interval=3", "callbacks.last.every_n_train_steps=500", "task.schedule=null"]
    whole = train(tiny("name=whole", *epochs, *rest, "trainer.max_epochs=2"))
    part = train(tiny("name=part", *epochs, *rest, "trainer.max_epochs=1"))
    assert torch.load(part / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    train([f"resume={part}", "trainer.max_epochs=2"])
    assert torch.load(part / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    assert_same(weights(part), weights(whole))
