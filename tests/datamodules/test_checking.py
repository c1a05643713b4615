"""`check-data` finds every planted fault, names its file, and finds none where there is none."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from lightvid.annotations import rle
from lightvid.datamodules.checking import check, run
from lightvid.errors import ConfigurationError, DataError
from lightvid.video import write_video

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def lines(path: Path, **options) -> list[str]:
    return [str(problem) for report in check(path, **options) for problem in report.problems]


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def track_of(content, number):
    return next(track for track in content["annotations"] if track["id"] == number)


def test_whole_datasets_have_no_problems(davis_root, youtube_root, vis_root, capsys):
    for root in (davis_root, youtube_root, vis_root):
        run([str(root), "--decode"])
        assert capsys.readouterr().out.endswith("0 problems in 0 files\n")


def test_the_sample_data_has_no_problems_in_any_of_its_layouts(sample_root, capsys):
    run([str(sample_root)])
    out = capsys.readouterr().out
    assert out.endswith("0 problems in 0 files\n")
    assert all(
        f"{folder}: {name}" in out
        for folder, name in [("davis", "DAVIS"), ("youtube_vos", "YouTube-VOS"), ("youtube_vis", "YouTube-VIS")]
    )


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips in ../shared/data")
@pytest.mark.parametrize("layout", ["davis", "youtube_vos", "youtube_vis", "videos"])
def test_the_real_clips_have_no_problems(layout):
    assert lines(SHARED / layout, decode=True) == []


def test_a_table_says_what_each_split_holds(vis_root, capsys):
    run([str(vis_root)])
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = {row[0].strip(): [cell.strip() for cell in row if cell.strip()][1:] for row in rows}
    assert cells["split"] == ["videos", "frames", "tracks", "annotated frames", "sizes", "categories"]
    assert cells["train"] == ["6", "48", "12", "48", "40x24", "2"]
    assert cells["validation"] == ["2", "16", "4", "16", "40x24", "2"]


def set_lists(**lists):
    return lambda content: track_of(content, 1).update(lists)


MASK = dict(rle.encode(np.ones((24, 40), np.uint8)))
FAULTS_OF_THE_FILE = {
    "track 1: 3 segmentations for a video of 8 frames": set_lists(segmentations=[MASK] * 3),
    "track 1: 2 areas for a video of 8 frames": set_lists(areas=[1, 2]),
    "track 1: 1 bboxes for a video of 8 frames": set_lists(bboxes=[[0, 0, 1, 1]]),
    "track 1: frame 0 has a mask without a box": set_lists(bboxes=[None] + [[0, 0, 1, 1]] * 7),
    "track 1: frame 7: a mask of 3x2 for frames of 40x24": set_lists(
        segmentations=[MASK] * 7 + [{"size": [2, 3], "counts": [6]}]
    ),
    "track 1: frame 7: an empty mask": set_lists(segmentations=[MASK] * 7 + [{"size": [24, 40], "counts": [960]}]),
    "track 1: frame 7: not a mask": set_lists(segmentations=[MASK] * 7 + [{"size": [24, 40], "counts": [7]}]),
    "track 1: frame 7: damaged run lengths, which do not fill 40x24 pixels": set_lists(
        segmentations=[MASK] * 7 + [{"size": [24, 40], "counts": "55"}]
    ),
    "track 1: frame 7: not a mask (one of its runs is negative)": set_lists(
        segmentations=[MASK] * 7 + [{"size": [24, 40], "counts": [-5, 965]}]
    ),
    "track 1: never visible": set_lists(segmentations=[None] * 8, bboxes=[None] * 8),
    "track 1: unknown category_id 5": set_lists(category_id=5),
    "track 1: unknown video_id 9": set_lists(video_id=9),
    "track 0: id 0": set_lists(id=0),
    "track 2: this id twice": set_lists(id=2),
    "track 1: of 41x24 pixels, its video of 40x24": set_lists(width=41),
    "video 1: 8 file_names for a length of 9": lambda content: content["videos"][0].update(length=9),
    "video 2: this id twice": lambda content: content["videos"][0].update(id=2),
    "category 3: this id twice": lambda content: content["categories"].append({"id": 3, "name": "x"}),
}


@pytest.mark.parametrize("message", FAULTS_OF_THE_FILE)
def test_a_fault_of_an_annotation_file_is_named(vis_root, message):
    edit(vis_root / "train.json", FAULTS_OF_THE_FILE[message])
    for decode in (False, True):
        found = lines(vis_root, decode=decode)
        assert any(line.startswith(f"{vis_root}/train.json: {message}") for line in found), found
        assert all("\n" not in line for line in found)


def test_all_faults_are_found_in_one_go_and_counted(vis_root, capsys):
    images = vis_root / "train/JPEGImages"
    (images / "t0/00000.png").unlink()
    (images / "t0/00005.png").write_bytes(b"broken")
    cv2.imwrite(str(images / "t1/00010.png"), np.zeros((24, 41, 3), np.uint8))
    shutil.rmtree(images / "t2")
    (images / "other").mkdir()
    edit(vis_root / "train.json", set_lists(id=0))
    edit(vis_root / "valid.json", lambda content: content["categories"][0].update(name="wolf"))
    with pytest.raises(SystemExit) as error:
        run([str(vis_root)])
    out = capsys.readouterr().out
    assert error.value.code == 1 and out.endswith("7 problems in 7 files\n")
    for line in (
        f"{images}/t0/00000.png: cannot read this frame",
        f"{images}/t0/00005.png: corrupt frame",
        f"{images}/t1/00010.png: 41x24 pixels, expected 40x24",
        f"{images}/t2: no such folder, of video 3",
        f"{images}/other: not in any annotation file",
        f"{vis_root}/train.json: track 0: id 0",
        f"{vis_root}/valid.json: other categories than {vis_root}/train.json",
    ):
        assert f"\n{line}" in out, out


def test_an_image_that_is_cut_off_is_found_by_decoding(vis_root):
    file = vis_root / "train/JPEGImages/t0/00000.png"
    file.write_bytes(file.read_bytes()[:-40])
    assert lines(vis_root) == []
    assert [line.split(": ")[0] for line in lines(vis_root, decode=True)] == [str(file)]


def test_an_annotation_file_alone_is_checked_with_its_frames(vis_root):
    (vis_root / "annotations").mkdir()
    file = (vis_root / "train.json").rename(vis_root / "annotations/instances_train_sub.json")
    assert lines(file) == []
    (vis_root / "train/JPEGImages/t5/00000.png").unlink()
    assert len(lines(file)) == 1


def test_a_file_that_is_no_json_is_one_problem_and_the_other_split_is_checked(vis_root):
    (vis_root / "train.json").write_text("{")
    (report,) = check(vis_root)
    assert len(report.problems) == 1 and "not readable as JSON" in str(report.problems[0])
    assert [split.name for split in report.splits] == ["validation"]


def test_faults_of_davis_are_found(davis_root):
    frames, masks = davis_root / "JPEGImages/480p", davis_root / "Annotations/480p"
    shutil.rmtree(frames / "t0")
    cv2.imwrite(str(frames / "t1/00003.png"), np.zeros((24, 41, 3), np.uint8))
    (frames / "t2/00007.png").unlink()
    cv2.imwrite(str(masks / "t3/00000.png"), np.zeros((12, 20), np.uint8))
    (masks / "t4/00000.png").write_bytes(b"broken")
    (frames / "stray").mkdir()
    (davis_root / "ImageSets/2017/val.txt").write_text("v0\nv0\nv1\n")
    found = lines(davis_root)
    for line in (
        f"{frames}/t0: no such video",
        f"{frames}/t1/00003.png: 41x24 pixels, expected 40x24",
        f"{masks}/t2/00007.png: a mask without a frame",
        f"{masks}/t3/00000.png: 20x12 pixels, expected 40x24",
        f"{masks}/t4/00000.png: corrupt mask",
        f"{frames}/stray: not in any list",
        f"{frames}/v2: not in any list",
        f"{davis_root}/ImageSets/2017/val.txt: names that are listed twice",
    ):
        assert any(entry.startswith(line) for entry in found), (line, found)


def test_faults_of_both_layouts_of_youtube_vos_are_found(youtube_root):
    shutil.rmtree(youtube_root / "valid/JPEGImages/v1")
    (youtube_root / "train/Annotations/stray").mkdir()
    (youtube_root / "train/JPEGImages/t0/00000.png").write_bytes(b"broken")
    found = "\n".join(lines(youtube_root))
    assert all(part in found for part in ("v1: no such video", "stray: not in any list", "t0/00000.png: corrupt"))
    sttn = youtube_root.parent / "sttn"
    shutil.copytree(youtube_root / "train/JPEGImages", sttn / "JPEGImages")
    (sttn / "train.json").write_text('{"t0": 8, "t1": 8, "t2": 8, "t3": 8, "t4": 8}')
    (sttn / "test.json").write_text('{"t9": 8}')
    found = "\n".join(lines(sttn))
    assert all(part in found for part in ("t9: no such video", "t5: not in any list", "t0/00000.png: corrupt"))


def test_a_folder_of_videos_is_checked(tmp_path):
    write_video(tmp_path / "good.mp4", np.zeros((3, 32, 48, 3), np.uint8), 24)
    (tmp_path / "bad.mp4").write_bytes(b"broken")
    (tmp_path / "empty").mkdir()
    (report,) = check(tmp_path, decode=True)
    assert report.splits[0].frames == 3 and report.splits[0].sizes == {(48, 32)}
    assert sorted(problem.file.name for problem in report.problems) == ["bad.mp4", "empty"]


def test_an_unknown_folder_and_wrong_arguments_are_answered_in_one_line(tmp_path):
    with pytest.raises(DataError, match="no known layout"):
        run([str(tmp_path)])
    with pytest.raises(DataError, match="no such folder"):
        run([str(tmp_path / "nowhere")])
    with pytest.raises(ConfigurationError, match="check-data"):
        run([])
