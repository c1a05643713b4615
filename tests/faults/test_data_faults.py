"""Data that is missing, protected or linked in a circle, and a process that reads and dies."""

import errno
import multiprocessing
import os
import signal
import subprocess

import pytest
import torch

from lightvid.datamodules.dataset import ClipDataset
from lightvid.errors import ConfigurationError, DataError
from lightvid.tasks import Inpainting
from lightvid.training import train
from lightvid.training_errors import in_one_line


def test_a_data_worker_that_is_killed_is_named_and_the_run_resumes(tiny, tmp_path, monkeypatch):
    read, step, parent = ClipDataset.__getitem__, Inpainting.training_step, os.getpid()
    requests, between_saves = [], multiprocessing.Event()

    def dies_at_the_sixth_batch(self, request):
        requests.append(request)
        if os.getpid() != parent and self.training and len(requests) > 10:
            between_saves.wait(120)
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, request)

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == 4:
            between_saves.set()
        return step(self, batch, batch_idx)

    steps = ["trainer.max_steps=8", "trainer.val_check_interval=8", "callbacks.pictures=null"]
    with monkeypatch.context() as patch:
        patch.setattr(ClipDataset, "__getitem__", dies_at_the_sixth_batch)
        patch.setattr(Inpainting, "training_step", training_step)
        # "exited unexpectedly" if the pipe with its last batch breaks before the signal is known
        ends = r"data worker \d+ died \((killed by signal: Killed|exited unexpectedly)\)"
        with pytest.raises(DataError, match=ends) as caught:
            train(tiny("name=orphan", *steps, "data.workers=1"))
    run = tmp_path / "runs/inpaint/orphan"
    assert "\n" not in str(caught.value)
    assert f"resume={run} goes on from the last checkpoint" in str(caught.value)
    train([f"resume={run}"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 8


def test_the_signal_that_killed_a_data_worker_is_named_also_while_a_batch_is_read(tmp_path):
    with pytest.raises(DataError, match=r"data worker 7 died \(killed by signal: Killed\)"), in_one_line(tmp_path):
        try:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        except RuntimeError as error:
            raise RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly") from error


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


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (data, kind)
        for data in ("davis", "youtube_vos", "videos", "shards", "sample", "youtube_vis")
        for kind in ("empty", "file", "loop", "dangling")
        if (data, kind) != ("sample", "empty")  # the sample data is written there
    ],
)
def test_a_folder_without_a_dataset_is_named(tiny, tiny_vis, tmp_path, data, kind):
    root = tmp_path / "data"
    if kind == "empty":
        root.mkdir()
    elif kind == "file":
        root.write_text("no folder")
    else:
        root.symlink_to(root if kind == "loop" else tmp_path / "nowhere")
    arguments = tiny_vis if data == "youtube_vis" else tiny
    with pytest.raises(DataError, match=str(root)) as caught:
        train(arguments(f"data={data}", f"data.root={root}"))
    assert "\n" not in str(caught.value)


def test_a_link_in_a_circle_inside_a_dataset_ends_in_one_line(tiny, tmp_path):
    root = tmp_path / "videos"
    root.mkdir()
    (root / "again").symlink_to(root)
    with pytest.raises(DataError, match="videos") as caught:
        train(tiny("data=videos", f"data.root={root}"))
    assert "\n" not in str(caught.value)


class Protected(torch.utils.data.Dataset):
    """Its one file is not ours to read."""

    def __init__(self, file):
        self.file = str(file)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise PermissionError(errno.EACCES, "Permission denied", self.file)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_protected_file_cannot_be_read_and_one_of_the_run_cannot_be_written(tmp_path, workers):
    run = tmp_path / "run"
    cases = {
        tmp_path / "data/0.png": (DataError, "0.png: cannot be read"),
        run / "metrics.csv": (ConfigurationError, "metrics.csv: cannot be written"),
    }
    for file, (kind, message) in cases.items():
        loader = torch.utils.data.DataLoader(Protected(file), num_workers=workers)
        with pytest.raises(kind, match=rf"{message} \(Permission denied\)") as caught, in_one_line(run):
            next(iter(loader))
        assert "\n" not in str(caught.value)
