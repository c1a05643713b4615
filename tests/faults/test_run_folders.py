"""Run folders that cannot be written, or that two runs want at once."""

import subprocess
import sys
import time

import pytest

from lightvid.errors import ConfigurationError
from lightvid.run_lock import RunLock
from lightvid.training import train

HOLDS = """
import sys, time
from pathlib import Path
from lightvid.errors import ConfigurationError
from lightvid.run_lock import RunLock
folder, start, seconds = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
time.sleep(max(0, start - time.time()))
with RunLock(folder) as lock:
    try:
        lock.take()
    except ConfigurationError as error:
        print(error, flush=True)
    else:
        print("taken", flush=True)
        time.sleep(seconds)
"""


def holder(folder, *, start: float = 0.0, seconds: float = 60.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS, str(folder), str(start), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_the_second_of_two_runs_at_once_is_refused_until_the_first_ends_even_if_it_is_killed(tiny, tmp_path):
    folder = tmp_path / "runs/inpaint/both"
    other = holder(folder)
    assert other.stdout.readline() == "taken\n"
    quick = tiny("name=both", "trainer.max_steps=1", "callbacks.pictures=null")
    with pytest.raises(
        ConfigurationError, match="runs/inpaint/both: another process is writing this run now"
    ) as caught:
        train(quick)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    other.kill()
    other.communicate()
    assert train(quick) == folder
    other = holder(folder)
    assert other.stdout.readline() == "taken\n"
    with pytest.raises(ConfigurationError, match="another process is writing this run now"):
        train([f"resume={folder}", "trainer.max_steps=2"])
    other.kill()
    other.communicate()


def test_in_a_race_for_a_name_exactly_one_wins(tmp_path):
    start = time.time() + 2
    racers = [holder(tmp_path / "run", start=start, seconds=2) for _ in range(4)]
    answers = [racer.communicate()[0].strip() for racer in racers]
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
    other = holder(tmp_path, seconds=0)
    assert other.communicate()[0] == "taken\n"
