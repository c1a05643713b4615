"""A run that was stopped goes on and gives what an undisturbed one gives; until then, nothing looks whole."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest
from media_files import Greying, encode, texture, write_images

from lightvid.commands.inpaint import run
from lightvid.errors import ConfigurationError, DataError

PART = 8
SLOW_RUN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in the background ignore it
sys.path.insert(0, {tests!r})
from media_files import Greying
import lightvid.inpainting.output, lightvid.inpainting.restorers, lightvid.commands.inpaint
lightvid.inpainting.output.SEGMENT = {part}
def wait_for_the_signal(index):
    if index == {part} + 4:
        print("waits", flush=True)
        time.sleep(600)
lightvid.inpainting.restorers.make_restorer = lambda options: Greying(wait_for_the_signal)
lightvid.commands.inpaint.run(sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr("lightvid.inpainting.output.SEGMENT", PART)


@pytest.fixture
def source(tmp_path, frames):
    return encode(tmp_path / "clip.mp4", frames, sound="aac")


def arguments(source, out, *more):
    return [str(source), "--box", "8,8,20,20", "-o", str(out), *map(str, more)]


def stop_at(restorer, number, error):
    def before(index):
        if index == number:
            raise error

    restorer.before = before


def go_on(restorer):
    restorer.before = lambda index: None


def content(out):
    """All that a player sees, as an .mkv has a random number in it."""
    if out.is_dir():
        return {path.name: path.read_bytes() for path in out.iterdir()}
    with av.open(str(out)) as container:
        return [(p.stream.type, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]


def whole(source, out, *more):
    run(arguments(source, out, *more))
    return content(out)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out"])
@pytest.mark.parametrize("stop", [13, 16, 19])
def test_an_interrupted_run_says_how_to_go_on_and_does(tmp_path, source, greying, capsys, name, stop):
    expected = whole(source, tmp_path / f"whole{Path(name).suffix}")
    capsys.readouterr()
    out = tmp_path / name
    stop_at(greying, stop, KeyboardInterrupt)
    with pytest.raises(SystemExit) as exit_:
        run(arguments(source, out))
    finished = stop if name == "out" else stop // PART * PART
    assert exit_.value.code == 130
    said = capsys.readouterr().err.strip()
    assert said == f"lightvid: interrupted; {finished} of 20 frames are kept, --resume goes on with them"
    assert not out.exists()
    go_on(greying)
    run(arguments(source, out, "--resume"))
    assert greying.starts[-1] == finished
    assert content(out) == expected
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_process_is_gone_on_with(tmp_path, source, greying, how):
    out = tmp_path / "out.mp4"
    script = SLOW_RUN.format(tests=str(Path(__file__).parent), part=PART)
    command = [sys.executable, "-c", script, *arguments(source, out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "waits\n"
        assert (tmp_path / "out.mp4.partial/00000000.mp4").exists()
        process.send_signal(how)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert ("--resume goes on" in said) == (how == signal.SIGINT)
    assert not out.exists()
    run(arguments(source, out, "--resume"))
    assert greying.starts[0] >= PART
    assert content(out) == whole(source, tmp_path / "whole.mp4")


def test_nothing_is_left_where_nothing_was_finished(tmp_path, source, greying, capsys):
    stop_at(greying, 3, KeyboardInterrupt)
    with pytest.raises(SystemExit):
        run(arguments(source, tmp_path / "out.mp4"))
    assert "nothing is finished yet" in capsys.readouterr().err
    stop_at(greying, 3, ValueError)
    with pytest.raises(ValueError):
        run(arguments(source, tmp_path / "out.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_stop_before_the_end_is_written_costs_no_frame(tmp_path, source, greying, monkeypatch):
    out = tmp_path / "out.mp4"

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("lightvid.inpainting.output.join_videos", refuse)
        with pytest.raises(
            ConfigurationError, match=r"out\.mp4: cannot be written \(No space left on device; 20 of 20"
        ):
            run(arguments(source, out))
    assert not out.exists()
    run(arguments(source, out, "--resume"))
    assert greying.starts == [0]
    assert out.exists()


@pytest.mark.parametrize("name", ["out.mkv", "out"])
def test_a_full_disk_is_named_and_gone_on_from(tmp_path, greying, name):
    source = write_images(tmp_path / "clip", texture(30, 120, 160))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        (disk / "ballast").write_bytes(bytes(600_000))
        with pytest.raises(ConfigurationError, match=r"No space left on device; (8|16|\d) of 30 frames are kept"):
            run([str(source), "--box", "8,8,20,20", "-o", str(disk / name), "--lossless"])
        assert not (disk / name).exists()
        finished = [path for path in (disk / f"{name}.partial").rglob("*") if "partial" in path.name]
        assert finished == []
        (disk / "ballast").unlink()
        subprocess.run([*mount[:4], "remount,size=9m", "tmpfs", str(disk)], check=True)
        run([str(source), "--box", "8,8,20,20", "-o", str(disk / name), "--lossless", "--resume"])
        assert greying.starts[-1] > 0
        assert content(disk / name) == whole(source, tmp_path / name, "--lossless")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def unfinished(tmp_path, source, greying):
    """OUT of a run that was stopped, and can be gone on with."""
    stop_at(greying, 13, KeyboardInterrupt)
    with pytest.raises(SystemExit):
        run(arguments(source, tmp_path / "out.mp4"))
    go_on(greying)
    return tmp_path / "out.mp4"


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("--dilate", 3), "--dilate was 4 and is 3 now"),
        (("--box", "1,1,5,5"), "--box was"),
        (("--invert",), "--invert was False and is True now"),
        (("--window", 7), "--window was None and is 7 now"),
    ],
)
def test_other_options_are_refused(source, unfinished, option, named):
    with pytest.raises(ConfigurationError, match=named) as error:
        run(arguments(source, unfinished, "--resume", *option))
    assert "\n" not in str(error.value)
    assert "--overwrite" in str(error.value)


def test_a_changed_source_is_refused(source, unfinished):
    os.utime(source, (1, 1))
    with pytest.raises(ConfigurationError, match="VIDEO is not what it was"):
        run(arguments(source, unfinished, "--resume"))


def test_an_unfinished_run_is_only_dropped_on_request(tmp_path, source, unfinished, greying):
    with pytest.raises(ConfigurationError, match=r"an unfinished run is there .*--resume .*--overwrite"):
        run(arguments(source, unfinished))
    run(arguments(source, unfinished, "--overwrite", "--dilate", 2))
    assert greying.starts == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


@pytest.mark.parametrize("option", ["--resume", "--overwrite"])
@pytest.mark.parametrize("job", [None, "[", "[]", '{"steps": 3}', '{"out": "other.mp4", "job": {}}'])
def test_a_folder_that_no_run_made_is_never_touched(tmp_path, source, option, job):
    folder = tmp_path / "out.mp4.partial"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    if job is not None:
        (folder / "job.json").write_text(job)
    with pytest.raises(ConfigurationError, match=r"out\.mp4\.partial: no unfinished run in it \(move it away"):
        run(arguments(source, tmp_path / "out.mp4", option))
    assert (folder / "thesis.txt").read_text() == "x"


def test_a_run_that_was_stopped_before_it_wrote_its_job_is_in_nobodys_way(tmp_path, source, greying):
    (tmp_path / "out.mp4.partial").mkdir()
    (tmp_path / "out.mp4.partial/job.json.partial").write_text("{")
    run(arguments(source, tmp_path / "out.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "out.mp4"]


def test_a_frame_that_breaks_on_the_way_costs_no_finished_one(tmp_path, source, greying):
    stop_at(greying, 13, DataError("clip.mp4: corrupt frame 13"))
    with pytest.raises(DataError, match="corrupt frame 13; 8 of 20 frames are kept, --resume goes on with them"):
        run(arguments(source, tmp_path / "out.mp4"))
    go_on(greying)
    run(arguments(source, tmp_path / "out.mp4", "--resume"))
    assert greying.starts == [0, 8]


def test_a_finished_part_that_was_damaged_since_is_named(source, unfinished):
    work = unfinished.with_name("out.mp4.partial")
    (work / "00000000.mp4").write_bytes(encode(work / "other.mp4", texture(3)).read_bytes())
    with pytest.raises(Exception, match=r"damaged \(15 frames of 20\)"):
        run(arguments(source, unfinished, "--resume"))
    assert not unfinished.exists()


def test_resume_without_a_stopped_run_begins_one(tmp_path, source, greying):
    run(arguments(source, tmp_path / "out.mp4", "--resume"))
    assert greying.starts == [0]
    assert (tmp_path / "out.mp4").exists()


def test_the_job_names_no_path(unfinished, tmp_path):
    assert str(tmp_path) not in json.dumps(json.loads((tmp_path / "out.mp4.partial/job.json").read_text()))


def test_an_unwritable_place_leaves_the_restorer_alone(tmp_path, source, monkeypatch):
    restorer = Greying()
    monkeypatch.setattr("lightvid.inpainting.restorers.make_restorer", lambda options: restorer)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"out\.mp4: cannot be written \(Not a directory"):
        run(arguments(source, tmp_path / "file/out.mp4"))
    assert restorer.starts == []
