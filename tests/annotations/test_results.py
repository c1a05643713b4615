"""Results files and submissions: what is written is read back, and what a server would refuse is told."""

import gzip
import json
import zipfile

import numpy as np
import pytest

from lightvid.annotations.result_checks import areas_and_totals
from lightvid.annotations.results import (
    read_results,
    validate_results,
    validate_submission,
    write_results,
    write_submission,
)
from lightvid.annotations.rle import encode
from lightvid.errors import DataError

MASK = encode(np.eye(6, 9, dtype=bool))
TRACK = {"video_id": 5, "category_id": 2, "score": 0.25, "segmentations": [MASK, None]}
SPLIT = {
    "videos": [{"id": 5, "height": 6, "width": 9, "file_names": ["a/0.jpg", "a/5.jpg"]}],
    "categories": [{"id": 2, "name": "owl"}],
    "annotations": None,
}


def test_tracks_come_back_from_a_file_a_compressed_file_and_a_submission(tmp_path):
    tracks = [TRACK, {**TRACK, "score": 0.5}]
    write_results(tmp_path / "new" / "results.json", iter(tracks))
    write_results(tmp_path / "results.json.gz", iter(tracks))
    assert gzip.decompress((tmp_path / "results.json.gz").read_bytes()).startswith(b"[")
    write_submission(tmp_path / "mine.zip", iter(tracks))
    for name in ("new/results.json", "results.json.gz", "mine.zip"):
        assert read_results(tmp_path / name) == tracks
    write_results(tmp_path / "none.json", [])
    assert read_results(tmp_path / "none.json") == []


@pytest.mark.parametrize("write, name", [(write_results, "results.json"), (write_submission, "mine.zip")])
def test_a_file_appears_only_when_it_is_complete(write, name, tmp_path):
    def interrupted():
        yield TRACK
        raise KeyboardInterrupt

    write(tmp_path / name, [TRACK])
    before = (tmp_path / name).read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / name, interrupted())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_score_that_json_cannot_hold_is_named(tmp_path):
    with pytest.raises(DataError, match="track 1 cannot be written"):
        write_results(tmp_path / "results.json", [TRACK, {**TRACK, "score": float("nan")}])
    assert not list(tmp_path.iterdir())


def test_a_submission_holds_results_json_at_its_top_and_the_same_results_give_the_same_bytes(tmp_path):
    for name in ("a.zip", "b.zip"):
        write_submission(tmp_path / name, [TRACK])
    assert zipfile.ZipFile(tmp_path / "a.zip").namelist() == ["results.json"]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert validate_submission(tmp_path / "a.zip", SPLIT) == []


def test_problems_of_a_submission_itself_are_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "nested.zip", "w") as archive:
        archive.writestr("run/results.json", "[]")
    with zipfile.ZipFile(tmp_path / "object.zip", "w") as archive:
        archive.writestr("results.json", "{}")
    (tmp_path / "text.zip").write_text("hello")
    for name, message in (
        ("nested.zip", "no results.json at its top level (it holds run/results.json)"),
        ("object.zip", "results are a list of tracks"),
        ("text.zip", "not a zip"),
        ("absent.zip", "cannot be read"),
    ):
        (problem,) = validate_submission(tmp_path / name, SPLIT)
        assert message in problem and "\n" not in problem


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"video_id": 6}, "video_id: 6"),
        ({"video_id": [5]}, "video_id"),
        ({"category_id": 0}, "category_id: 0"),
        ({"score": float("nan")}, "score: expected a finite number"),
        ({"score": 10**400}, "score: expected a finite number"),
        ({"segmentations": None}, "segmentations: expected a list"),
        ({"segmentations": [MASK]}, "segmentations: 1 entries for a video of 2 frames"),
        ({"segmentations": [None, [[0, 0, 4, 0, 4, 4]]]}, "segmentations[1]: expected null or compressed"),
        ({"segmentations": [None, {"size": [6, 9], "counts": [54]}]}, "segmentations[1]: expected null or compressed"),
        ({"segmentations": [encode(np.eye(9, 6, dtype=bool)), None]}, "segmentations[0]: a mask of 6x9"),
        (
            {"segmentations": [{**MASK, "size": np.array(MASK["size"])}, None]},
            "segmentations[0]: expected null or compr",
        ),
        ({"segmentations": [{**MASK, "size": [True, 9]}, None]}, "segmentations[0]: expected null or compressed"),
        ({"segmentations": [{**MASK, "counts": ""}, None]}, "segmentations[0]: its counts are damaged"),
        (
            {"segmentations": [{**MASK, "counts": MASK["counts"][:-2]}, None]},
            "segmentations[0]: its counts are damaged",
        ),
    ],
)
def test_each_track_that_a_server_would_refuse_is_told_in_one_line(change, problem):
    problems = validate_results([TRACK, {**TRACK, **change}, TRACK], SPLIT)
    assert len(problems) == 1
    assert problems[0].startswith(f"results[1]: {problem}")


def test_missing_fields_and_other_things_than_tracks_are_told():
    for field in TRACK:
        (problem,) = validate_results([{key: value for key, value in TRACK.items() if key != field}], SPLIT)
        assert problem == f"results[0]: {field}: missing"
    assert validate_results([7], SPLIT) == ["results[0]: expected an object, got int"]
    assert validate_results({"video_id": 5}, SPLIT) == ["results: expected a list of tracks, got an object"]


def test_the_ground_truth_may_be_a_file(tmp_path):
    (tmp_path / "valid.json").write_text(json.dumps(SPLIT))
    assert validate_results([TRACK], tmp_path / "valid.json") == []
    (tmp_path / "valid.json").write_text("[")
    with pytest.raises(DataError, match=r"valid.json: not JSON"):
        validate_results([TRACK], tmp_path / "valid.json")


def test_runs_of_whole_masks_fill_them_and_those_of_torn_ones_do_not():
    random = np.random.default_rng(0)
    for density in (0, 0.01, 0.5, 0.99, 1):
        texts = [encode(random.random((40, 35)) < density)["counts"] for _ in range(4)]
        assert areas_and_totals(texts)[1].tolist() == [40 * 35] * 4
    assert all(areas_and_totals([texts[0][:1], "", "é", "ooo", "~"])[1] != 40 * 35)
    checkers = encode(np.indices((40, 35)).sum(0) % 2 == 0)["counts"]
    assert (areas_and_totals([checkers[:end] for end in range(len(checkers) - 1)])[1] != 40 * 35).all()
