"""Run folders that cannot be written, or that two runs want at once."""

import subprocess
import sys

import pytest

from lightvid.errors import ConfigurationError
from lightvid.run_lock import RunLock
from lightvid.training import train

# Says that it has begun, takes the folder when it is told to, says how that went, and holds it until its input ends.
HOLDS = """
import sys
from pathlib import Path
from lightvid.errors import ConfigurationError
from lightvid.run_lock import RunLock
print("ready", flush=True)
sys.stdin.readline()
with RunLock(Path(sys.argv[1])) as lock:
    try:
        lock.take()
    except ConfigurationError as error:
        print(error, flush=True)
    else:
        print("taken", flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that wants a run folder; the last to use is `leave` or `kill`."""

    def __init__(self, folder):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], text=True, **pipes)
        assert self.process.stdout.readline() == "ready\n"

    def begin(self):
        self.process.stdin.write("now\n")
        self.process.stdin.flush()

    def answer(self):
        return self.process.stdout.readline().strip()

    def leave(self):
        self.process.communicate()

    def kill(self):
        self.process.kill()
        self.process.communicate()


def holder(folder):
    """A process that has the folder."""
    other = Holder(folder)
    other.begin()
    assert other.answer() == "taken"
    return other


def test_the_second_of_two_runs_at_once_is_refused_until_the_first_ends_even_if_it_is_killed(tiny, tmp_path):
    folder = tmp_path / "runs/inpaint/both"
    other = holder(folder)
    quick = tiny("name=both", "trainer.max_steps=1", "callbacks.pictures=null")
    with pytest.raises(
        ConfigurationError, match="runs/inpaint/both: another process is writing this run now"
    ) as caught:
        train(quick)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    other.kill()
    assert train(quick) == folder
    other = holder(folder)
    with pytest.raises(ConfigurationError, match="another process is writing this run now"):
        train([f"resume={folder}", "trainer.max_steps=2"])
    other.kill()


def test_in_a_race_for_a_name_exactly_one_wins(tmp_path):
    racers = [Holder(tmp_path / "run") for _ in range(4)]
    for racer in racers:
        racer.begin()
    answers = [racer.answer() for racer in racers]
    for racer in racers:
        racer.leave()
    assert answers.count("taken") == 1
    assert sum("another process is writing this run now" in answer for answer in answers) == 3


def test_a_run_that_ended_between_the_look_and_the_lock_is_not_written_over(tiny, monkeypatch):
    run = train(tiny("name=taken", "trainer.max_steps=1", "callbacks.pictures=null"))
    written = (run / "config.yaml").stat().st_mtime_ns
    seen = []

    def look(folder):
        seen.append(folder)
        return len(seen) > 1  # at the first look the other run had not begun

    monkeypatch.setattr("lightvid.training.holds_a_run", look)
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train(tiny("name=taken"))
    assert (run / "config.yaml").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("task.generator_optimizer.lr=-1", r"task\.generator_optimizer: Invalid learning rate: -1"),
        ("task.discriminator_optimizer.betas=[2, 3]", r"task\.discriminator_optimizer: Invalid beta"),
        (
            "trainer.val_check_interval=0",
            r"trainer\.val_check_interval=0 counts batches .* trainer\.limit_val_batches=0",
        ),
    ],
)
def test_a_value_that_no_run_could_have_leaves_no_run_behind(tiny, tmp_path, option, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        train(tiny("name=wrong", option))
    assert "\n" not in str(caught.value)
    assert not [file for file in (tmp_path / "runs").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "callbacks.best.monitor=val/psnrr",
            r"monitor=val/psnrr is no metric: did you mean 'val/psnr'\? Valid: val/hole_",
        ),
        ("clip.height=10", "needs frames of at least 11 x 11 pixels, got 10 x 48"),
    ],
)
def test_what_could_not_be_measured_is_named_in_one_line(tiny, option, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        train(tiny("trainer.max_steps=1", "trainer.val_check_interval=1", "trainer.limit_val_batches=1", option))
    assert "\n" not in str(caught.value)


def test_an_unwritable_run_folder_is_named_before_training(tiny, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", "/proc"):
        arguments = [argument for argument in tiny() if not argument.startswith("out=")]
        with pytest.raises(ConfigurationError, match=r"cannot write the run folder .*out=FOLDER") as caught:
            train([*arguments, f"out={out}"])
        assert "\n" not in str(caught.value)
        assert f"{out}/inpaint/additive-sample" in str(caught.value)


def test_a_read_only_disk_is_named_before_training(tiny, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        arguments = [argument for argument in tiny() if not argument.startswith("out=")]
        with pytest.raises(ConfigurationError, match=r"cannot write the run folder \(Read-only file system\)"):
            train([*arguments, f"out={place}"])
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_lock_ends_with_its_block(tmp_path):
    with RunLock(tmp_path) as lock:
        lock.take()
    holder(tmp_path).leave()
