"""`lightvid segment-vis`, from a benchmark's file to what its server takes."""

import json
import zipfile

import pytest

from lightvid.annotations.results import validate_submission
from lightvid.commands.segment_vis import run
from lightvid.errors import ConfigurationError, DataError
from lightvid.video import write_png


@pytest.fixture
def dataset(tmp_path, paint):
    """Two videos of 8 and 3 frames, without annotations, laid out as the archives are."""
    videos = []
    for number, length in ((7, 8), (9, 3)):
        names = [f"video{number}/{5 * t:05d}.png" for t in range(length)]
        for name, frame in zip(names, paint(length, {0: lambda t: (4, 2 * t)}), strict=True):
            write_png(tmp_path / "valid" / "JPEGImages" / name, frame)
        videos.append({"id": number, "height": 48, "width": 80, "length": length, "file_names": names})
    categories = [{"id": number, "name": name} for number, name in ((3, "ball"), (5, "dog"), (8, "person"))]
    file = tmp_path / "valid.json"
    file.write_text(json.dumps({"videos": videos, "categories": categories, "annotations": None}))
    return file


def test_every_video_is_in_the_results_and_in_a_submission_that_is_valid(tmp_path, dataset, loaded, capsys):
    run([str(dataset), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    best = {result["video_id"]: result for result in reversed(results)}
    assert {number: len(result["segmentations"]) for number, result in best.items()} == {7: 8, 9: 3}
    assert {result["category_id"] for result in best.values()} == {3}
    assert validate_submission(tmp_path / "out" / "submission.zip", dataset) == []
    assert zipfile.ZipFile(tmp_path / "out" / "submission.zip").namelist() == ["results.json"]
    assert "2 videos" in capsys.readouterr().out


def test_other_categories_and_missing_frames_end_in_one_line(tmp_path, dataset, loaded):
    content = json.loads(dataset.read_text())
    content["categories"][0]["id"] = 4
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=r"its 3 categories are 4, 5, 8, the 3 of the checkpoint 3, 5, 8"):
        run([str(tmp_path / "other.json"), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])
    (tmp_path / "valid" / "JPEGImages" / "video9" / "00005.png").unlink()
    with pytest.raises(DataError, match=r"video9/00005\.png"):
        run([str(dataset), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])
    assert not (tmp_path / "out" / "results.json").exists()


def test_categories_of_the_same_ids_with_other_names_are_refused(tmp_path, dataset, loaded):
    content = json.loads(dataset.read_text())
    content["categories"][1]["name"] = "giant_panda"
    dataset.write_text(json.dumps(content))
    with pytest.raises(
        ConfigurationError, match=r"\.\.\., giant_panda, person, the 3 of the checkpoint \.\.\., dog, pers"
    ):
        run([str(dataset), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])


def test_more_categories_than_the_checkpoint_has_are_named_where_its_own_end(tmp_path, dataset, loaded):
    content = json.loads(dataset.read_text())
    content["categories"] += [{"id": number, "name": f"more {number}"} for number in (9, 10)]
    dataset.write_text(json.dumps(content))
    with pytest.raises(
        ConfigurationError, match=r"5 categories are \.\.\., person, more 9, more 10, the 3 of .* \.\.\., person:"
    ):
        run([str(dataset), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])


def test_a_checkpoint_without_names_is_compared_by_ids_alone(tmp_path, dataset, loaded, monkeypatch):
    from lightvid import checkpoints

    load = checkpoints.load

    def without_names(name, source):
        network = load(name, source)
        network.category_names = ["class 3", "class 5", "class 8"]
        return network

    monkeypatch.setattr(checkpoints, "load", without_names)
    run([str(dataset), "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])
    assert (tmp_path / "out" / "results.json").is_file()


def test_frames_are_found_for_a_file_in_a_folder_of_annotations(tmp_path, dataset, loaded, monkeypatch):
    (tmp_path / "annotations").mkdir()
    dataset.rename(tmp_path / "annotations" / "instances_val_sub.json")
    monkeypatch.chdir(tmp_path / "annotations")  # also where the path does not name the folder above
    run(["instances_val_sub.json", "-o", str(tmp_path / "out"), "--checkpoint", "best.ckpt"])
    assert (tmp_path / "out" / "results.json").is_file()
