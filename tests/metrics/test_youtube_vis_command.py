"""`lightvid evaluate-vis`: a table, a JSON file, a submission."""

import json

import numpy as np
import pytest

from lightvid.annotations.results import read_results, write_results, write_submission
from lightvid.annotations.rle import encode
from lightvid.commands.evaluate_vis import run
from lightvid.errors import ConfigurationError, DataError

MASK = encode(np.eye(8, dtype=bool))
TRACK = {"video_id": 1, "category_id": 3, "segmentations": [MASK, None]}
FOUND = {**TRACK, "score": 0.5}
SPLIT = {
    "videos": [{"id": 1, "length": 2, "height": 8, "width": 8}],
    "categories": [{"id": 3, "name": "owl"}, {"id": 4, "name": "fox"}],
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "gt.json").write_text(json.dumps({**SPLIT, "annotations": [{"id": 1, **TRACK}]}))
    (tmp_path / "valid.json").write_text(json.dumps({**SPLIT, "annotations": None}))
    write_results(tmp_path / "results.json", [FOUND])
    return tmp_path


def test_the_numbers_are_printed_and_written_also_by_category(files, capsys):
    out = files / "out" / "ap.json"
    run([str(files / "gt.json"), str(files / "results.json"), "--per-category", "--json", str(out)])
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("AP50", "ARl", "100.0", "owl"))
    assert "fox" not in printed
    written = json.loads(out.read_text())
    assert (written["AP"], written["APl"], written["categories"]["owl"]["AP"]) == pytest.approx((1, -1, 1))


def test_at_least_one_process_evaluates(files, capsys):
    run([str(files / "gt.json"), str(files / "results.json"), "--processes", "2"])
    assert "100.0" in capsys.readouterr().out
    with pytest.raises(ConfigurationError, match="--processes: expected a whole number above 0, got '0'"):
        run([str(files / "gt.json"), str(files / "results.json"), "--processes", "0"])


def test_a_submission_is_evaluated_as_the_file_in_it(files, capsys):
    write_submission(files / "mine.zip", [FOUND])
    run([str(files / "gt.json"), str(files / "mine.zip")])
    assert "100.0" in capsys.readouterr().out


def test_a_submission_needs_no_annotations(files, capsys):
    run([str(files / "valid.json"), str(files / "results.json"), "--submission", str(files / "mine.zip")])
    assert "no annotations" in capsys.readouterr().out
    assert read_results(files / "mine.zip") == [FOUND]


def test_numbers_need_annotations(files):
    with pytest.raises(DataError, match=r"valid.json: annotations: null.*lightvid split-vis"):
        run([str(files / "valid.json"), str(files / "results.json")])


def test_what_a_server_would_refuse_is_not_packed(files):
    write_results(files / "short.json", [FOUND, {**FOUND, "segmentations": [MASK]}])
    arguments = [str(files / "gt.json"), str(files / "short.json"), "--as-benchmark"]
    run(arguments)
    with pytest.raises(DataError, match=r"short.json: 1 of 2 tracks.*results\[1\]: segmentations"):
        run([*arguments, "--submission", str(files / "mine.zip")])
    assert not (files / "mine.zip").exists()


@pytest.mark.parametrize("arguments", [[], ["gt.json"], ["gt.json", "results.json", "--jsn", "x"]])
def test_a_mistaken_call_is_one_line(arguments):
    with pytest.raises(ConfigurationError, match="lightvid evaluate-vis --help"):
        run(arguments)


TRUTH = {"id": 1, **TRACK}


@pytest.mark.parametrize("as_benchmark", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": [1, 2]}, r"annotations\[0\]: expected an object, got int"),
        ({"annotations": {"1": TRUTH}}, "annotations: expected a list, got dict"),
        (
            {"annotations": [{**TRUTH, "video_id": [1]}]},
            r"annotations\[0\]: video_id: expected a whole number, got \[1",
        ),
        ({"annotations": [{**TRUTH, "category_id": {}}]}, r"annotations\[0\]: category_id: expected a whole number"),
        (
            {"annotations": [{key: TRUTH[key] for key in TRUTH if key != "video_id"}]},
            r"annotations\[0\]: video_id: .*got None",
        ),
        ({"annotations": [{**TRUTH, "areas": ["a"]}]}, r"annotations\[0\]: areas: expected a list"),
        ({"annotations": [{**TRUTH, "areas": 5}]}, r"annotations\[0\]: areas: expected a list"),
        ({"videos": [{**SPLIT["videos"][0], "height": "8"}]}, "video 1: height: expected a whole number, got '8'"),
        ({"videos": [*SPLIT["videos"], {**SPLIT["videos"][0], "id": "2"}]}, "video '2': id: expected a whole number"),
    ],
)
def test_a_damaged_ground_truth_is_one_line(files, content, message, as_benchmark):
    (files / "gt.json").write_text(json.dumps({**SPLIT, "annotations": [TRUTH], **content}))
    with pytest.raises(DataError, match=rf"gt.json: {message}") as error:
        run([str(files / "gt.json"), str(files / "results.json"), *["--as-benchmark"] * as_benchmark])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["--json", "--submission"])
def test_what_cannot_be_written_is_one_line(files, option):
    (files / "file").write_text("")
    for target in (files, files / "file" / "x.zip", "/proc/x/y", "/proc/x.zip"):
        with pytest.raises(ConfigurationError, match=f"{option} {target}: cannot be written") as error:
            run([str(files / "gt.json"), str(files / "results.json"), option, str(target)])
        assert "\n" not in str(error.value)
