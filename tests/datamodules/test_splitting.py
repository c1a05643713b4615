"""The local split is a function of the seed and the videos, and both parts keep every category."""

import json

import numpy as np
import pytest

from lightvid.annotations.youtube_vis import read_annotations
from lightvid.datamodules.splitting import choose_validation, missing_categories, run
from lightvid.errors import ConfigurationError, DataError


def dataset(videos: int, categories: int, seed: int) -> dict[int, set[int]]:
    """Some categories frequent and some rare, one to three in a video; none twice as rare as two videos."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, categories + 1)
    chosen = {
        video: set(rng.choice(categories, rng.integers(1, 4), p=weights / weights.sum()).tolist())
        for video in range(1, videos + 1)
    }
    chosen[videos + 1] = {categories}  # of this one there is a single video
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_both_parts_keep_every_category_of_two_videos(seed):
    categories = dataset(120, 30, seed)
    chosen = choose_validation(categories, fraction=0.2, seed=seed)
    counts = {c: sum(c in of_video for of_video in categories.values()) for c in range(31)}
    assert missing_categories(categories, chosen) == {c for c, count in counts.items() if count == 1}
    assert 121 not in chosen, "the only video of a category is for training"
    assert 0.15 < len(chosen) / len(categories) < 0.35


def test_the_split_depends_on_the_seed_and_the_ids_and_on_no_order():
    categories = dataset(60, 8, 0)
    backwards = dict(reversed(categories.items()))
    chosen = choose_validation(categories, fraction=0.2, seed=3)
    assert chosen == choose_validation(backwards, fraction=0.2, seed=3)
    assert chosen != choose_validation(categories, fraction=0.2, seed=4)


def test_where_no_split_keeps_all_categories_it_keeps_most():
    categories = {1: {1, 2}, 2: {2, 3}, 3: {1, 3}}
    assert len(missing_categories(categories, choose_validation(categories, fraction=0.3, seed=0))) == 1


def test_the_two_files_share_out_videos_and_tracks(vis_root, capsys):
    run([str(vis_root), "--fraction", "0.3", "--seed", "1"])
    parts = [read_annotations(vis_root / f"annotations_split/{name}_split.json") for name in ("train", "valid")]
    whole = read_annotations(vis_root / "train.json")
    assert [len(part.videos) for part in parts] == [4, 2] and "4 videos, 8 tracks" in capsys.readouterr().out
    assert sorted(v.id for part in parts for v in part.videos) == [v.id for v in whole.videos]
    for part in parts:
        assert part.categories == whole.categories
        assert {track.video_id for track in part.tracks} == {video.id for video in part.videos}
        assert all(track in whole.tracks for track in part.tracks)


def test_a_single_file_is_split_to_where_it_is_asked_for(vis_root, tmp_path):
    run([str(vis_root / "train.json"), "--out", str(tmp_path / "here")])
    assert sorted(file.name for file in (tmp_path / "here").iterdir()) == ["train_split.json", "valid_split.json"]


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b"], ["a", "--fraction", "2"], ["a", "--fraction", "x"], ["a", "--what"]]
)
def test_wrong_arguments_are_answered_in_one_line(arguments):
    with pytest.raises(ConfigurationError) as error:
        run(arguments)
    assert "split-vis" in str(error.value) and "\n" not in str(error.value)


def test_a_file_without_tracks_cannot_be_split(vis_root):
    path = vis_root / "train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": None}))
    with pytest.raises(DataError, match="no annotations in it that could be split"):
        run([str(vis_root)])


def change(path, **lists):
    path.write_text(json.dumps({**json.loads(path.read_text()), **lists}))


def test_no_part_is_ever_empty(vis_root):
    content = json.loads((vis_root / "train.json").read_text())
    one = [track for track in content["annotations"] if track["video_id"] == 1]
    change(vis_root / "train.json", videos=content["videos"][:1], annotations=one)
    with pytest.raises(DataError, match="cannot be split, it has one video"):
        run([str(vis_root)])
    other = next(t for t in content["annotations"] if t["video_id"] == 2 and t["category_id"] == 3)
    change(vis_root / "train.json", videos=content["videos"][:2], annotations=[one[0], other])
    with pytest.raises(DataError, match="each of its videos is the only one of a category"):
        run([str(vis_root)])
    assert not (vis_root / "annotations_split").exists()


def test_a_target_that_is_no_folder_and_damaged_masks_are_one_line(vis_root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"file: no folder that can be written to \(File exists\)"):
        run([str(vis_root), "--out", str(tmp_path / "file")])
    tracks = json.loads((vis_root / "train.json").read_text())["annotations"]
    tracks[0]["segmentations"][0]["counts"] = "55"
    change(vis_root / "train.json", annotations=tracks)
    with pytest.raises(DataError, match="track 1, frame 0: damaged run lengths"):
        run([str(vis_root)])
