"""What the loggers of a run hold, read back from their files, and that a resumed run goes on in them."""

import csv
import json
import subprocess
from pathlib import Path

import cv2
import pytest
import torch
from offline_runs import read_offline_runs

from lightvid.tasks.tracking import ID_FILE, RunWandbLogger, code_version
from lightvid.training import train

MEASURED = ["train/clips_per_second", "train/peak_memory_gib", "train/seconds", "lr-AdamW/pg1", "lr-Adam"]
NORMS = [f"gradient_norm/{name}" for name in ("shared", "generator", "discriminator")]
LOSSES = [f"loss/{name}" for name in ("total", "inpaint", "vis", "hole", "discriminator", "class")]


@pytest.fixture(scope="module")
def run(tiny_joint_in, tmp_path_factory):
    """A joint run of two steps with all loggers, resumed for a third from its checkpoint and configuration alone."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_DATA_DIR", str(folder / "data"))
        options = ["logger=tensorboard", "loggers.wandb.mode=offline", "task.segmentation.schedule=null"]
        run = train(
            tiny_joint_in(folder, *options, "task.inpainting.schedule=null", "trainer.max_steps=2", "name=tracked")
        )
        (run / ID_FILE).unlink()
        train([f"resume={run}", "trainer.max_steps=3", "trainer.val_check_interval=1"])
    return run


@pytest.fixture(scope="module")
def parts(run):
    """Both W&B runs that it wrote."""
    return read_offline_runs(run)


@pytest.fixture(scope="module")
def commit():
    """Of the repository that these tests are in."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("not a git checkout")
    return asked.stdout.strip()


def test_wandb_holds_the_configuration(parts):
    config = parts[0].config
    assert config["choice"]["task"] == "joint"
    assert config["task"]["init_args"]["balance"] == "fixed"
    assert config["trainer"]["max_steps"] == 2


def test_wandb_holds_the_version_of_the_code(parts, commit):
    assert parts[0].config["git_commit"] == commit
    assert isinstance(parts[0].config["git_dirty"], bool)


def test_wandb_holds_losses_rates_norms_throughput_and_memory_of_every_step(parts):
    for name in [*LOSSES, *NORMS, *MEASURED]:
        values = parts[0].column(name)
        assert len(values) == 2, name
        assert all(value >= 0 for value in values), name
    assert all(0.1 < value < 100 for value in parts[0].column("train/peak_memory_gib"))
    assert parts[0].column("val/AP") != []


def test_the_csv_file_has_the_columns_and_values_of_wandb(run, parts):
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for name in [*LOSSES, *NORMS, *MEASURED]:
        written = [value for part in parts for value in part.column(name)]
        assert [float(row[name]) for row in rows if row[name]] == pytest.approx(written), name
    best = json.loads((run / "results.json").read_text())["lightvid"]
    for name in ("val/AP", "val/hole_psnr"):
        values = [float(row[name]) for row in rows if row[name]]
        assert set(values) <= {value for part in parts for value in part.column(name)}, name
        assert values[-1] == pytest.approx(best[name.removeprefix("val/")], abs=1e-3), name


def test_wandb_holds_pictures_videos_and_instances_as_layers_of_masks(run, parts):
    columns = {name for row in parts[0].history for name in row}
    for name in ("val/inpaint_pictures", "val/inpaint_video", "val/vis_pictures", "val/vis_video", "val/masks"):
        assert any(column.startswith(f"{name}/") for column in columns), name
    layers = parts[0].column("val/masks/all_masks")[0]
    assert all(set(image) == {"found", "truth"} for image in layers)
    folder = min(run.glob("wandb/offline-run-*/files"))  # the first part
    drawn = [cv2.imread(str(folder / image["truth"]["path"]), cv2.IMREAD_UNCHANGED) for image in layers]
    assert {int(value) for mask in drawn for value in mask.flat} > {0}
    assert "mask/class_labels" in json.dumps(parts[0].config["_wandb"])


def test_wandb_keeps_the_best_checkpoint(run, parts):
    artifact = parts[0].artifacts[-1]
    assert artifact.type == "model"
    assert "best" in artifact.aliases
    (content,) = artifact.manifest.contents
    assert content.path == "best.ckpt"
    stored = torch.load(content.local_path, weights_only=True)
    assert stored["global_step"] == 2
    assert json.loads(artifact.metadata)["monitor"] == "val/AP"


def test_a_resumed_run_that_does_not_surpass_its_best_keeps_that(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    quick = ["loggers.wandb.mode=offline", "callbacks.pictures=null", "name=killed", "trainer.max_steps=2"]
    with monkeypatch.context() as patch:  # as if killed before the end
        patch.setattr(RunWandbLogger, "finalize", lambda self, status: None)
        run = train(tiny(*quick))
    train([f"resume={run}", "trainer.max_steps=3"])  # the next validation would be at step 4
    first, second = read_offline_runs(run)
    assert first.artifacts == []
    assert json.loads(second.artifacts[-1].metadata)["path"] == str(run / "checkpoints" / "best.ckpt")


def test_a_run_resumed_from_its_checkpoint_goes_on_in_the_same_wandb_run(run, parts):
    assert [part.id for part in parts] == [parts[0].id] * 2
    assert (run / ID_FILE).read_text() == parts[0].id
    trained = [[row["trainer/global_step"] for row in part.history if "loss/total" in row] for part in parts]
    assert trained == [[0, 1], [2]]


def test_tensorboard_holds_the_same_numbers_and_the_pictures(run, parts):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for name in [*LOSSES, *NORMS, "train/clips_per_second"]:
        written = [value for part in parts for value in part.column(name)]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(written, rel=1e-5), name
    assert "val/vis_pictures" in events.Tags()["images"]


def test_the_version_of_the_code_is_that_of_its_own_repository(monkeypatch, tmp_path, commit):
    assert code_version()["git_commit"] == commit
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "tracking.py").touch()
    monkeypatch.setattr("lightvid.tasks.tracking.__file__", str(tmp_path / "tracking.py"))
    assert code_version() == {}, "installed into a folder of another project"
