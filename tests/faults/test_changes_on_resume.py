"""What is changed on the way into a resumed run: refused in one line, and the run is left as it was."""

import json
import shutil

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


def test_an_epoch_does_not_go_on_with_other_batches(tiny):
    run = train(tiny("name=part", "task.schedule=null", *QUIET))  # an epoch has 12 steps
    written = (run / "config.yaml").read_bytes()
    for change in ("seed=1", "data.batch_size=1", "data.clips_per_video=3"):
        name = change.removeprefix("data.").partition("=")[0]
        with pytest.raises(ConfigurationError, match=rf"{name}\w*=.* \(was .*: set it back to resume") as caught:
            train([f"resume={run}", "trainer.max_steps=4", change])
        assert "\n" not in str(caught.value)
    assert (run / "config.yaml").read_bytes() == written
    train([f"resume={run}", "trainer.max_steps=3"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_a_run_that_has_no_best_checkpoint_yet_is_evaluated_by_its_last(tiny):
    run = train(tiny("name=early", *QUIET))
    (run / "checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint; .* checkpoint=last takes"):
        evaluate([f"run={run}"])
    assert evaluate([f"run={run}", "checkpoint=last"])["lightvid"]["psnr"] > 0
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint$"):
        evaluate([f"run={run}"])
