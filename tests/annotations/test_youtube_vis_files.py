"""Annotation files of all releases are read, found in all layouts, and answered by name where they are wrong."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from lightvid.annotations import rle
from lightvid.annotations.youtube_vis import find_annotations, find_images, read_annotations
from lightvid.errors import DataError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
MASK = np.zeros((4, 6), np.uint8)
MASK[1:3, 2:5] = 1
FORMS = {
    "compressed": dict(rle.encode(MASK)),
    "uncompressed": {"size": [4, 6], "counts": [9, 2, 2, 2, 2, 2, 5]},
    "polygons": [[2, 1, 5, 1, 5, 3, 2, 3]],
}


def content(**changes):
    video = {"id": 5, "width": 6, "height": 4, "length": 3, "file_names": ["v/0.jpg", "v/1.jpg", "v/2.jpg"]}
    track = {"id": 1, "video_id": 5, "category_id": 9, "segmentations": [None, FORMS["compressed"], None]}
    categories = [{"id": 9, "name": "b"}, {"id": 2, "name": "a"}]
    return {"videos": [video], "categories": categories, "annotations": [track]} | changes


def write(path: Path, data) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_is_the_same_mask(tmp_path, form):
    data = content()
    data["annotations"][0]["segmentations"] = [None, FORMS[form], []]
    (track,) = read_annotations(write(tmp_path / "a.json", data)).tracks
    assert [segmentation is None for segmentation in track.segmentations] == [True, False, True]
    np.testing.assert_array_equal(rle.decode(track.segmentations[1], 4, 6, "mask"), MASK)


def test_categories_are_sorted_by_id_and_areas_are_those_of_the_file_or_measured(tmp_path):
    data = content()
    annotations = read_annotations(write(tmp_path / "a.json", data))
    assert [(c.id, c.name) for c in annotations.categories] == [(2, "a"), (9, "b")]
    assert annotations.tracks[0].areas == (None, 6, None)
    data["annotations"][0] |= {"areas": [None, 4.5, None], "iscrowd": 1}
    (track,) = read_annotations(write(tmp_path / "a.json", data)).tracks
    assert track.areas == (None, 4.5, None) and track.is_crowd


@pytest.mark.parametrize("is_null", [True, False])
def test_files_of_the_benchmarks_validation_have_no_tracks(tmp_path, is_null):
    data = content(annotations=None)
    if not is_null:
        del data["annotations"]
    annotations = read_annotations(write(tmp_path / "a.json", data))
    assert annotations.tracks is None and annotations.tracks_by_video() == {5: []}


WRONG = {
    "not readable as JSON": "{",
    "not a YouTube-VIS file": [],
    "it is a list of YouTube-VOS": {"videos": {"a": {"objects": {}}}},
    "a list of YouTube-VOS, which": {"a": 30, "b": 40},
    "no list of categories": content(categories=[]),
    "category 9: this id twice": content(categories=[{"id": 9, "name": "a"}, {"id": 9, "name": "b"}]),
    "category 9: no name": content(categories=[{"id": 9}]),
    "video number 0: no integer id": content(videos=[{"id": "5"}]),
    "video 5: this id twice": content(videos=content()["videos"] * 2),
    "track 1: this id twice": content(annotations=content()["annotations"] * 2),
}
WRONG_VIDEO = {
    "video 5: no width in pixels": {"width": 0},
    "video 5: no list of file_names": {"file_names": []},
    "video 5: 3 file_names for a length of 4": {"length": 4},
    "video 5: ../0.jpg is not a path within": {"file_names": ["../0.jpg", "v/1.jpg", "v/2.jpg"]},
}
WRONG_TRACK = {
    "track 1: unknown video_id 6": {"video_id": 6},
    "track 1: unknown category_id 1": {"category_id": 1},
    "track 1: 2 segmentations for a video of 3 frames": {"segmentations": [None, None]},
    "track 1: 1 areas for a video of 3 frames": {"areas": [3]},
    "track 1: iscrowd must be 0 or 1": {"iscrowd": 2},
    "track 1: no list of segmentations": {"segmentations": None},
    "track 1, frame 1: a mask of 6x5 for frames of 6x4": {
        "segmentations": [None, {"size": [5, 6], "counts": [30]}, None]
    },
    "track 1, frame 2: damaged run lengths, which do not fill 6x4 pixels": {
        "segmentations": [None, FORMS["compressed"], {"size": [4, 6], "counts": "55"}],
        "areas": [None, 6, 6],
    },
    "track 1, frame 1: damaged": {"segmentations": [None, {"size": [4, 6], "counts": "Q"}, None]},
    "track 1, frame 0: not a mask (one of its runs is negative)": {
        "segmentations": [{"size": [4, 6], "counts": [-5, 29]}, None, None]
    },
    "track 1, frame 0: not a mask": {"segmentations": [{"size": [4, 6], "counts": [3]}, None, None]},
}


def cases():
    yield from WRONG.items()
    for message, change in WRONG_VIDEO.items():
        yield message, content(videos=[content()["videos"][0] | change])
    for message, change in WRONG_TRACK.items():
        yield message, content(annotations=[content()["annotations"][0] | change])


@pytest.mark.parametrize(("message", "data"), cases())
def test_a_wrong_record_is_named_in_one_line(tmp_path, message, data):
    path = tmp_path / "a.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(DataError) as error:
        read_annotations(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value) and "\n" not in str(error.value)


LAYOUTS = {
    "2019": ("{}.json", ("train", "valid"), "{}/JPEGImages", ("train", "valid")),
    "2021": ("{}/instances.json", ("train", "valid"), "{}/JPEGImages", ("train", "valid")),
    "VisTR": ("annotations/instances_{}_sub.json", ("train", "val"), "{}/JPEGImages", ("train", "valid")),
    "VNext": ("annotations/instances_{}_sub.json", ("train", "val"), "{}/JPEGImages", ("train", "val")),
    "OVIS": ("annotations_{}.json", ("train", "valid"), "{}", ("train", "valid")),
    "OVIS of VNext": ("annotations_{}.json", ("train", "valid"), "{}/JPEGImages", ("train", "val")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path, layout):
    file, names, images, folders = LAYOUTS[layout]
    for split, name, folder in zip(("train", "validation"), names, folders, strict=True):
        written = write(tmp_path / file.format(name), content())
        (tmp_path / images.format(folder) / "v").mkdir(parents=True)
        assert find_annotations(tmp_path, split) == (written, tmp_path / images.format(folder))


def test_the_validation_file_of_2022_is_found(tmp_path):
    written = write(tmp_path / "instances.json", content())
    (tmp_path / "val/JPEGImages").mkdir(parents=True)
    assert find_annotations(tmp_path, "validation") == (written, tmp_path / "val/JPEGImages")


def test_of_several_files_the_first_in_a_fixed_order_is_used_and_reported(tmp_path, caplog):
    for name in ("annotations/instances_train_sub.json", "train.json", "train/instances.json"):
        write(tmp_path / name, content())
    (tmp_path / "train/JPEGImages").mkdir()
    with caplog.at_level(logging.INFO, "lightvid"):
        assert find_annotations(tmp_path, "train").file == tmp_path / "train.json"
    assert "train.json" in caplog.text and "not used" in caplog.text and "instances_train_sub.json" in caplog.text


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        find_annotations(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match=r"no validation annotations \(expected valid.json"):
        find_annotations(tmp_path, "validation")
    write(tmp_path / "train.json", content())
    with pytest.raises(DataError, match="train/JPEGImages: no such folder"):
        find_annotations(tmp_path, "train")
    with pytest.raises(DataError, match=r"no frame v/0.jpg"):
        find_images(tmp_path, read_annotations(tmp_path / "train.json").videos)


def test_a_youtube_vos_folder_is_recognised(tmp_path):
    write(tmp_path / "train/meta.json", {"videos": {}})
    with pytest.raises(DataError, match="a YouTube-VOS folder"):
        find_annotations(tmp_path, "train")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips in ../shared/data")
def test_the_real_clips_are_read():
    annotations = read_annotations(find_annotations(SHARED / "youtube_vis", "train").file)
    assert [video.name for video in annotations.videos] == ["dogs-jump", "tennis"] and len(annotations.categories) == 40
    record = json.loads((SHARED / "youtube_vis/train.json").read_text())["annotations"][0]
    track = annotations.tracks[0]
    assert rle.decode(track.segmentations[0], 240, 432, "mask").sum() == record["areas"][0] == track.areas[0]


@pytest.mark.parametrize("counts", ["55", "0", "Q", "\u00e9", [-5, 85], [80, -5, 5], [1 << 40]])
def test_damaged_run_lengths_are_never_decoded(counts):
    with pytest.raises(DataError, match=r"mask 7: (damaged run lengths|not a mask)") as error:
        rle.decode({"size": [8, 10], "counts": counts}, 8, 10, "mask 7")
    assert "\n" not in str(error.value)


def test_run_lengths_are_measured_together():
    whole, torn = rle.encode(MASK), {"size": [4, 6], "counts": "55"}
    assert rle.measure([whole, torn, rle.encode(1 - MASK)]) == [6, None, 18]
    assert rle.measure([]) == []
