"""A run that is killed, or finds no room, while it writes: the checkpoint before is whole, and resumes."""

import csv
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from lightvid import run_report
from lightvid.checkpoint_io import AtomicCheckpointIO
from lightvid.errors import CheckpointError, LightvidError
from lightvid.training import train

# The fourth checkpoint is cut in half, as it is on its way to the disk, and the process ends there.
KILLED_WHILE_WRITING = """
import os, signal
from lightvid import checkpoint_io, cli
writes, flush = 0, os.fsync
def fsync(file):
    global writes
    if os.readlink(f"/proc/self/fd/{file}").endswith(".ckpt.partial"):
        writes += 1
        if writes == 4:
            os.ftruncate(file, os.fstat(file).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
    flush(file)
checkpoint_io.os.fsync = fsync
cli.main()
"""


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, of 16 MB, and what fills it up to a number of bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")

    def leave(room: int) -> None:
        (folder / "ballast").unlink(missing_ok=True)
        state = os.statvfs(folder)
        free = state.f_bavail * state.f_frsize
        (folder / "ballast").write_bytes(bytes(max(0, free - room)))

    yield folder, leave
    subprocess.run(["umount", "-l", str(folder)], check=True)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_killed_while_it_writes_a_checkpoint_keeps_the_one_before_and_resumes_exactly(tiny, tmp_path):
    steps = ["trainer.max_steps=8", "trainer.val_check_interval=8", "callbacks.pictures=null"]
    command = [sys.executable, "-c", KILLED_WHILE_WRITING, "train", *tiny("name=killed", *steps)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
    killed = tmp_path / "runs/inpaint/killed"
    # Checkpoints of steps 2, 4 and 6 are whole; that of step 8 was being written.
    assert torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    assert [path.name for path in (killed / "checkpoints").glob("*.ckpt")] == ["last.ckpt"]
    assert train([f"resume={killed}"]) == killed
    whole = train(tiny("name=whole", *steps))
    assert {path.name for path in (killed / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert all(torch.equal(weights(killed)[name], value) for name, value in weights(whole).items())


@pytest.mark.parametrize("room", [0, 8192, 200_000])
def test_a_disk_that_is_full_keeps_the_checkpoint_before(small_disk, room):
    folder, leave = small_disk
    file = folder / "run/checkpoints/last.ckpt"
    io = AtomicCheckpointIO()
    io.save_checkpoint({"weight": torch.zeros(100_000)}, file)
    leave(room)
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt: the checkpoint cannot be written \(No space left"
    ) as caught:
        io.save_checkpoint({"weight": torch.ones(100_000)}, file)
    assert "\n" not in str(caught.value)
    assert "resume=" in str(caught.value)
    assert not torch.load(file, weights_only=True)["weight"].any()
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]


def test_a_disk_that_fills_up_ends_the_run_at_its_checkpoint_in_one_line_and_it_resumes(tiny, small_disk):
    folder, leave = small_disk
    rest = ["trainer.max_steps=4", "trainer.val_check_interval=4"]
    arguments = [argument for argument in tiny("name=full", *rest) if not argument.startswith("out=")]
    run = train([*arguments, f"out={folder}", "trainer.max_steps=2", "task.schedule=null", "callbacks.pictures=null"])
    leave(4096)
    with pytest.raises(LightvidError, match="No space left on device") as caught:
        train([f"resume={run}", "trainer.max_steps=4"])
    assert "\n" not in str(caught.value)
    assert f"resume={run}" in str(caught.value)
    leave(16_000_000)
    train([f"resume={run}", "trainer.max_steps=4"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4


def test_pictures_and_rows_that_find_no_room_cost_a_warning_and_no_training(tiny, monkeypatch):
    """Every file but the checkpoints meets a full disk: the real limit of the size of a file, at 0 bytes."""
    import resource

    from lightvid.tasks.callbacks import media
    from lightvid.tasks.tracking import RunCSVLogger

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limited(function):
        def call(*arguments):
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
            try:
                return function(*arguments)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limit)

        return call

    monkeypatch.setattr(media, "write_png", limited(media.write_png))
    monkeypatch.setattr(run_report, "_write_results", limited(run_report._write_results))
    real_save, calls = RunCSVLogger.save, []

    def save(self):
        if self.experiment.metrics:
            calls.append(self)
        return (limited(real_save) if len(calls) == 1 else real_save)(self)

    monkeypatch.setattr(RunCSVLogger, "save", save)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            run = train(tiny("name=limited", "trainer.max_steps=51", "trainer.val_check_interval=51"))
    finally:
        signal.signal(signal.SIGXFSZ, before)
    messages = [str(warning.message) for warning in caught]
    assert any("a picture or video cannot be written (File too large)" in message for message in messages)
    assert any("metrics.csv: cannot be written (File too large), its rows wait" in message for message in messages)
    assert any("results.json: cannot be written (File too large)" in message for message in messages)
    assert not list(run.rglob("*.mp4"))
    assert not [path for path in run.rglob("*.png") if path.stat().st_size]
    steps = [int(row["step"]) for row in csv.DictReader((run / "metrics.csv").open()) if row["loss/total"]]
    assert steps == list(range(51))
    assert (run / "checkpoints/best.ckpt").exists()
