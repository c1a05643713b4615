"""Data that is missing, protected or linked in a circle, and a process that reads and dies."""

import os
import signal
import subprocess

import pytest
import torch

from lightvid.datamodules.dataset import ClipDataset
from lightvid.errors import DataError
from lightvid.training import train


def test_a_data_worker_that_is_killed_is_named_and_the_run_resumes(tiny, tmp_path, monkeypatch):
    read, parent, requests = ClipDataset.__getitem__, os.getpid(), []

    def dies_at_the_sixth_batch(self, request):
        requests.append(request)
        if os.getpid() != parent and self.training and len(requests) > 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, request)

    steps = ["trainer.max_steps=8", "trainer.val_check_interval=8", "callbacks.pictures=null"]
    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "__getitem__", dies_at_the_sixth_batch)
        with pytest.raises(DataError, match=r"data worker \d+ died \(killed by signal: Killed\)") as caught:
            train(tiny("name=orphan", *steps, "data.workers=1"))
    run = tmp_path / "runs/inpaint/orphan"
    assert "\n" not in str(caught.value)
    assert f"resume={run} goes on from the last checkpoint" in str(caught.value)
    train([f"resume={run}"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


def test_a_dataset_is_read_through_a_link_from_a_place_that_cannot_be_written(tiny, tmp_path, sample_root):
    place = tmp_path / "place"
    place.mkdir()
    if subprocess.run(["mount", "--bind", str(sample_root), str(place)], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a folder")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        with pytest.raises(OSError, match="Read-only"):
            (place / "davis/new").touch()
        (tmp_path / "link").symlink_to(place / "davis")
        quick = ["trainer.max_steps=1", "callbacks.pictures=null"]
        run = train(tiny("name=linked", "data=davis", f"data.root={tmp_path / 'link'}", *quick))
        assert (run / "results.json").exists()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("data", ["davis", "youtube_vos", "videos", "sample"])
@pytest.mark.parametrize("kind", ["empty", "file", "loop", "dangling"])
def test_a_folder_without_a_dataset_is_named(tiny, tmp_path, data, kind):
    root = tmp_path / "data"
    if kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_text("no folder")
    else:
        root.symlink_to(root if kind == "loop" else tmp_path / "nowhere")
    if (data, kind) == ("sample", "empty"):
        return  # the sample data is written there
    with pytest.raises(DataError, match=str(root)) as caught:
        train(tiny(f"data={data}", f"data.root={root}"))
    assert "\n" not in str(caught.value)


def test_a_link_in_a_circle_inside_a_dataset_ends_in_one_line(tiny, tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    (root / "again").symlink_to(root)
    with pytest.raises(DataError, match="videos") as caught:
        train(tiny("data=videos", f"data.root={root}"))
    assert "\n" not in str(caught.value)
