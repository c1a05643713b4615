"""What is changed on the way into a resumed run: refused in one line, and the run is left as it was."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.training import evaluate, train

QUIET = ("callbacks.pictures=null", "trainer.max_steps=2", "trainer.limit_val_batches=1")


def without_a_category(sample, root):
    """The sample data of instances, with one category less."""
    shutil.copytree(sample, root)
    for file in (root / "youtube_vis").glob("*.json"):
        content = json.loads(file.read_text())
        last = content["categories"].pop()["id"]
        content["annotations"] = [track for track in content["annotations"] if track["category_id"] != last]
        file.write_text(json.dumps(content))
    return root


def test_data_of_other_classes_do_not_go_on_with_a_run(tiny_vis, sample_root, tmp_path):
    run = train(tiny_vis("name=five", *QUIET))
    written = (run / "config.yaml").read_bytes()
    root = without_a_category(sample_root, tmp_path / "four")
    for command in (
        lambda: train([f"resume={run}", f"data.root={root}", "trainer.max_steps=3"]),
        lambda: evaluate([f"run={run}", f"data.root={root}"]),
    ):
        with pytest.raises(ConfigurationError, match="categories differ from those of the checkpoint") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert (run / "config.yaml").read_bytes() == written


def content(run):
    return {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_an_epoch_does_not_go_on_with_other_batches(tiny, sample_root, tmp_path):
    run = train(tiny("name=part", "task.schedule=null", *QUIET, "trainer.max_steps=3"))  # in the first epoch
    renamed = shutil.copytree(sample_root, tmp_path / "renamed")
    for list_file in (renamed / "davis/ImageSets").rglob("*.txt"):
        first, *others = list_file.read_text().split()
        list_file.write_text("\n".join([*others, first]))
    before = content(run)
    assert len(before[Path("metrics.csv")].splitlines()) > 3
    changes = {
        "seed=1": r"seed=1 \(was 0\)",
        "data.batch_size=1": r"data\.batch_size x processes = 1 \(was 2\)",
        "data.clips_per_video=3": r"data\.clips_per_video=3 \(was 10\)",
        f"data.root={renamed}": r"data\.root with other videos",
    }
    for checkpoint in (run, run / "checkpoints/best.ckpt"):  # the best is of step 2
        for change, message in changes.items():
            with pytest.raises(ConfigurationError, match=f"{message}: set it back to resume.*init_from") as caught:
                train([f"resume={checkpoint}", "trainer.max_steps=4", change])
            assert "\n" not in str(caught.value)
            assert content(run) == before
    train([f"resume={run}", "trainer.max_steps=4"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert len((run / "metrics.csv").read_text().splitlines()) > len(before[Path("metrics.csv")].splitlines())


def test_after_an_epoch_that_a_limit_ended_the_next_may_have_other_batches(tiny):
    limit = "trainer.limit_train_batches=2"
    run = train(tiny("name=short", "task.schedule=null", *QUIET, limit))
    train([f"resume={run}", "trainer.max_steps=4", "seed=1"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert "seed: 1" in (run / "config.yaml").read_text()


def test_a_run_that_has_no_best_checkpoint_yet_is_evaluated_by_its_last(tiny):
    run = train(tiny("name=early", *QUIET))
    (run / "checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint; .* checkpoint=last takes"):
        evaluate([f"run={run}"])
    assert evaluate([f"run={run}", "checkpoint=last"])["lightvid"]["psnr"] > 0
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint$"):
        evaluate([f"run={run}"])
