"""`lightvid demo`: whom it serves, with what."""

import os

import pytest

from lightvid.demo import server
from lightvid.demo.command import run
from lightvid.demo.methods import WITHOUT, find_methods
from lightvid.errors import ConfigurationError


@pytest.fixture
def served(monkeypatch, tmp_path):
    """What the server would be started with."""
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(server, "serve", lambda methods, limits, **place: calls.append((methods, limits, place)))
    return calls


def test_only_this_machine_can_reach_the_page_unless_asked_otherwise(served, capsys):
    run([])
    assert served[0][2] == {"host": "127.0.0.1", "port": 7860, "sample": None}
    assert capsys.readouterr().err == ""
    run(["--host", "0.0.0.0"])
    assert served[1][2]["host"] == "0.0.0.0"
    assert "others in the network can use the page" in capsys.readouterr().err


def test_limits_are_those_that_were_given(served):
    run(["--max-upload-mb", "5", "--max-frames", "7"])
    assert (served[0][1].megabytes, served[0][1].frames) == (5, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "missing.ckpt"], "missing.ckpt: no such file"),
        (["--published", "e2fgvi_hq"], "expected NAME=FILE"),
        (["--sample", "missing"], "missing: no such clip"),
        (["--share"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_answered_in_one_line(served, arguments, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        run(arguments)
    assert "\n" not in str(error.value)


def test_the_newest_runs_are_offered_after_propagation(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["new", "old"]):
        file = tmp_path / "runs" / "inpaint" / name / "checkpoints" / "best.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1000 - age, 1000 - age))
    assert list(find_methods(None, [], device="cpu")) == [WITHOUT, "run new", "run old"]


def test_checkpoints_that_were_given_come_first(tmp_path):
    methods = find_methods(tmp_path / "my.ckpt", [("sttn", tmp_path / "sttn.pth")], device="cpu")
    assert list(methods) == ["sttn", "checkpoint my.ckpt", WITHOUT]
    assert methods["sttn"].published == ("sttn", tmp_path / "sttn.pth")
