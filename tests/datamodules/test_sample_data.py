"""The sample data is what the benchmarks would ship, and can be restored from its other frames."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lightvid.datamodules import DAVIS, SampleData, YouTubeVOS, make_sample_data, sample
from lightvid.datamodules.sample_annotations import encode_rle
from lightvid.datamodules.synthesis import CATEGORIES, synthesise_clip
from lightvid.errors import DataError
from lightvid.video import open_video

SMALL = {
    "CLIPS": {"train": 3, "valid": 2},
    "FURTHER_CLIPS": {"train": 2, "valid": 1},
    "LENGTH": 12,
    "HEIGHT": 64,
    "WIDTH": 112,
}
SIZE = {"height": 32, "width": 56, "frames": 5, "workers": 0}
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sample"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(sample, name, value)
        yield make_sample_data(folder)


@pytest.fixture(scope="module")
def clips():
    return [synthesise_clip(np.random.default_rng(seed), length=12, height=64, width=112) for seed in range(6)]


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_folders_are_laid_out_as_the_real_ones(root):
    def shape(folder: Path) -> set[str]:
        """Paths with the names of videos and frames taken out, empty folders excepted."""
        names = {path.name for pattern in ("JPEGImages/480p/*", "*/JPEGImages/*") for path in folder.glob(pattern)}
        return {
            "/".join("VIDEO" if part in names else part for part in file.relative_to(folder).parent.parts)
            + ("/frame" if file.stem.isdigit() else f"/{file.name}")
            for file in folder.rglob("*.*")
            if file.is_file()
        }

    if not SHARED.is_dir():
        pytest.skip("needs the clips in ../shared/data")
    for layout in ("davis", "youtube_vos", "youtube_vis"):
        assert shape(root / layout) - {"Clean/480p/VIDEO/frame"} == shape(SHARED / layout)


def test_writing_again_gives_the_same_bytes(root, tmp_path):
    assert content(make_sample_data(tmp_path / "again")) == content(root)


def test_data_that_is_there_is_kept_and_outdated_or_partial_data_made_again(root, tmp_path):
    folder = make_sample_data(tmp_path / "sample")
    listing = folder / "davis/ImageSets/2017/train.txt"
    listing.write_text("mine")
    make_sample_data(folder)
    assert listing.read_text() == "mine"
    (folder / "lightvid-sample-version.txt").write_text("0")
    make_sample_data(folder)
    assert content(folder) == content(root)
    assert [path.name for path in tmp_path.iterdir()] == ["sample"]


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "version.txt").write_text("precious")
    with pytest.raises(DataError, match="holds other files"):
        make_sample_data(tmp_path)
    assert (tmp_path / "version.txt").read_text() == "precious"


def test_outside_the_objects_the_background_is_untouched(clips):
    for clip in clips:
        np.testing.assert_array_equal(clip.frames[clip.masks == 0], clip.background[clip.masks == 0])
        changed = (clip.frames != clip.background).any(axis=-1)
        assert changed[clip.masks > 0].mean() > 0.95


def test_objects_cover_each_other_in_a_fixed_order(clips):
    meetings = 0
    for clip in clips:
        assert set(np.unique(clip.masks)) <= set(range(len(clip.categories) + 1))
        last = (clip.masks == len(clip.categories)).astype(np.uint8)
        # nothing lies over the last object, so what is seen of it is in one piece
        assert all(cv2.connectedComponents(mask)[0] <= 2 for mask in last)
        others = (clip.masks > 0) & (last == 0)
        meetings += any(
            (cv2.dilate(mask, np.ones((3, 3))) & other).any() for mask, other in zip(last, others, strict=True)
        )
    assert meetings >= 2


def test_the_same_seed_draws_the_same_clip(clips):
    again = synthesise_clip(np.random.default_rng(2), length=12, height=64, width=112)
    np.testing.assert_array_equal(again.frames, clips[2].frames)
    np.testing.assert_array_equal(again.masks, clips[2].masks)


def test_what_a_frame_hides_is_seen_in_others():
    """The background moves, and where it has moved to it looks the same."""
    for seed in range(6):
        clip = synthesise_clip(np.random.default_rng(seed), length=30, height=128, width=224)
        first, second = (cv2.cvtColor(clip.background[t], cv2.COLOR_RGB2GRAY).astype(np.float32) for t in (10, 11))
        (x, y), _ = cv2.phaseCorrelate(first, second, cv2.createHanningWindow((224, 128), cv2.CV_32F))
        aligned = cv2.warpAffine(first, np.array([[1, 0, x], [0, 1, y]]), (224, 128))
        inner = (slice(16, -16), slice(16, -16))
        error, still = (np.abs(frame[inner] - second[inner]).mean() for frame in (aligned, first))
        assert 0.5 < np.hypot(x, y) < 8
        assert error < 0.6 * still


def test_youtube_vis_annotations_are_the_masks(root):
    mask_coding = pytest.importorskip("pycocotools.mask")
    for split in ("train", "valid"):
        truth = json.loads((root / f"youtube_vis/{split}.json").read_text())
        assert [category["name"] for category in truth["categories"]] == list(CATEGORIES)
        videos = {video["id"]: video for video in truth["videos"]}
        for track in truth["annotations"]:
            video = videos[track["video_id"]]
            if not (root / "davis/Annotations/480p" / video["file_names"][0]).parent.exists():
                continue  # of YouTube-VIS alone
            assert len(track["segmentations"]) == video["length"] == len(video["file_names"])
            for file, rle, box, area in zip(
                video["file_names"], track["segmentations"], track["bboxes"], track["areas"], strict=True
            ):
                png = root / "davis/Annotations/480p" / Path(file).with_suffix(".png")
                instances = np.asarray(Image.open(png))
                if rle is None:
                    assert box is None and area is None
                    continue
                mask = mask_coding.decode(mask_coding.frPyObjects(rle, *rle["size"]))
                (instance,) = np.unique(instances[mask == 1])
                np.testing.assert_array_equal(mask, instances == instance)
                assert (
                    area == mask.sum()
                    and box == mask_coding.toBbox(mask_coding.encode(np.asfortranarray(mask))).tolist()
                )


def test_youtube_vis_has_further_clips_which_move_as_the_others(root):
    truth = json.loads((root / "youtube_vis/train.json").read_text())
    assert [video["file_names"][0].split("/")[0] for video in truth["videos"]] == [f"train-0{i}" for i in range(5)]
    assert not (root / "davis/JPEGImages/480p/train-03").exists()
    whole = synthesise_clip(np.random.default_rng([sample.SEED, 0, 3]), length=12, height=64, width=112)
    frames = open_video(root / "youtube_vis/train/JPEGImages/train-03").read(range(6))
    assert np.abs(frames.astype(int) - whole.frames[::2]).mean() < 4, "every second frame, as JPEG"
    for track in truth["annotations"]:
        if track["video_id"] == 4:
            areas = [area or 0 for area in track["areas"]]
            number = 1 + sum(t["video_id"] == 4 and t["id"] < track["id"] for t in truth["annotations"])
            assert areas == (whole.masks[::2] == number).sum(axis=(1, 2)).tolist()


def test_every_second_frame_of_a_clip_is_drawn_as_in_the_whole_clip(clips):
    half = synthesise_clip(np.random.default_rng(2), length=12, height=64, width=112, step=2)
    np.testing.assert_array_equal(half.frames, clips[2].frames[::2])
    np.testing.assert_array_equal(half.masks, clips[2].masks[::2])
    np.testing.assert_array_equal(half.background, clips[2].background[::2])


def test_run_lengths_of_extreme_masks_decode():
    mask_coding = pytest.importorskip("pycocotools.mask")
    for mask in (np.ones((3, 5), bool), np.zeros((3, 5), bool), np.eye(4, dtype=bool), np.eye(4, dtype=bool)[::-1]):
        rle = encode_rle(mask)
        np.testing.assert_array_equal(mask_coding.decode(mask_coding.frPyObjects(rle, *mask.shape)), mask)


def test_the_masks_are_indexed_pictures_in_the_benchmarks_colours(root):
    image = Image.open(next((root / "davis/Annotations/480p/train-00").glob("*.png")))
    assert image.mode == "P"
    assert image.getpalette()[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]


def test_the_data_modules_read_it(root):
    for data in (
        SampleData(str(root), **SIZE),
        DAVIS(str(root / "davis"), **SIZE, masks="own_object"),
        YouTubeVOS(str(root / "youtube_vos"), **SIZE, masks="object"),
    ):
        data.prepare_data()
        data.setup("fit")
        assert [batch.frames.shape for batch in data.train_dataloader()] == [(2, 5, 32, 56, 3)]
        assert sum(len(batch.names) for batch in data.val_dataloader()) == 2


def test_clean_frames_are_the_frames_without_objects(root):
    frames, clean = (
        open_video(root / "davis" / folder / "480p/valid-00").read([5])[0] for folder in ("JPEGImages", "Clean")
    )
    background = open_video(root / "davis/Annotations/480p/valid-00").read_masks([5])[0] == 0
    background = cv2.erode(background.astype(np.uint8), np.ones((17, 17))) > 0  # away from the objects' JPEG blocks
    assert np.abs(frames[background].astype(int) - clean[background]).max() == 0
    data = SampleData(str(root), **SIZE, frames_folder="Clean")
    data.setup("validate")
    assert "Clean" in next(iter(data.val_dataloader())).files[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips in ../shared/data")
@pytest.mark.parametrize("masks", ["moving", "object", "own_object"])
@pytest.mark.parametrize(("kind", "folder"), [(DAVIS, "davis"), (YouTubeVOS, "youtube_vos")])
def test_real_clips_load(kind, folder, masks):
    data = kind(str(SHARED / folder), height=120, width=216, masks=masks, workers=0, validation_frames=7)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert batch.frames.shape == (2, 5, 120, 216, 3) and set(batch.names) == {"dogs-jump", "tennis"}
    assert 0.002 < batch.masks.float().mean() < 0.5
    (batch,) = data.val_dataloader()
    assert batch.frames.shape == (1, 7, 120, 216, 3) and batch.names == ["bmx-trees"]
