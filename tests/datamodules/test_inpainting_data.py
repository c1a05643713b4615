"""Batches of every data module: shapes, determinism, errors."""

import re
import shutil
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image

from lightvid.datamodules import DAVIS, ByteBatch, VideoFolder, YouTubeVOS, base
from lightvid.datamodules.clips import InpaintingClips
from lightvid.errors import ConfigurationError, DataError
from lightvid.video import write_video

SIZE = {"height": 16, "width": 32, "frames": 3, "workers": 0}


def ready(data, stage="fit"):
    data.prepare_data()
    data.setup(stage)
    return data


def same(first, second) -> bool:
    return all(
        torch.equal(a.frames, b.frames) and torch.equal(a.masks, b.masks) and a[2:] == b[2:]
        for a, b in zip(first, second, strict=True)
    )


def zip_videos(folder: Path) -> None:
    for video in list(folder.iterdir()):
        with zipfile.ZipFile(folder / f"{video.name}.zip", "w") as archive:
            for file in video.iterdir():
                archive.write(file, file.name)
        shutil.rmtree(video)


def break_frames(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"broken")


def test_a_loader_gives_bytes_and_the_task_gets_frames_within_minus_one_and_one_and_binary_masks(davis_root):
    data = ready(DAVIS(str(davis_root), **SIZE))
    batches = list(data.train_dataloader())
    assert len(batches) == 3
    for stored in batches:
        assert stored.frames.shape == (2, 3, 16, 32, 3) and stored.masks.shape == (2, 3, 16, 32)
        assert stored.frames.dtype == stored.masks.dtype == torch.uint8
        batch = data.on_after_batch_transfer(stored, 0)
        assert batch.frames.shape == (2, 3, 3, 16, 32) and batch.frames.dtype == torch.float32
        assert batch.masks.shape == (2, 3, 1, 16, 32) and batch.masks.dtype == torch.float32
        assert batch.frames.min() >= -1 and batch.frames.max() <= 1 and batch.frames.min() < -0.9
        assert set(batch.masks.unique().tolist()) == {0.0, 1.0}
        assert all(name in file for name, file in zip(batch.names, batch.files, strict=True))
    assert sorted(name for batch in batches for name in batch.names) == [f"t{i}" for i in range(6)]


def test_bytes_become_floats_exactly_and_in_their_places():
    frames = torch.arange(2 * 2 * 8 * 16 * 3).remainder(256).byte().view(2, 2, 8, 16, 3)
    masks = torch.zeros(2, 2, 8, 16, dtype=torch.uint8)
    masks[1, 0, 3, 5] = 1
    batch = ByteBatch(frames, masks, ["a", "b"], ["a [0]", "b [0]"], [], 2).to_float()
    values = np.arange(256, dtype=np.float32) / np.float32(127.5) - np.float32(1)
    for channel in range(3):
        expected = values[frames[..., channel].numpy()]
        np.testing.assert_array_equal(batch.frames[:, :, channel].numpy(), expected)
    assert batch.frames.is_contiguous()
    assert batch.masks.nonzero().tolist() == [[1, 0, 0, 3, 5]]
    assert batch[2:] == (["a", "b"], ["a [0]", "b [0]"], [], 2)


def test_the_frames_are_those_that_the_batch_names(davis_root):
    batch = next(iter(ready(DAVIS(str(davis_root), **SIZE, horizontal_flip=0.0)).train_dataloader()))
    for clip, name, file in zip(batch.frames, batch.names, batch.files, strict=True):
        numbers = [int(part[:5]) for part in file.split("[")[1].split(", ")]
        assert clip[:, 0, 0, 0].tolist() == [20 * int(name[1])] * 3
        assert clip[:, 0, 0, 1].tolist() == [25 * number for number in numbers]


def test_a_training_clip_may_end_with_references_and_says_how_many_frames_are_its_own(davis_root):
    options = {**SIZE, "sampling": "local_and_reference", "reference_frames": 2}
    data = ready(DAVIS(str(davis_root), **options, horizontal_flip=0.0))
    for stored in data.train_dataloader():
        batch = data.on_after_batch_transfer(stored, 0)
        assert batch.frames.shape == (2, 5, 3, 16, 32) and batch.masks.shape == (2, 5, 1, 16, 32)
        assert stored.local_frames == batch.local_frames == 3
        for clip, file in zip(stored.frames, batch.files, strict=True):
            numbers = [int(part[:5]) for part in file.split("[")[1].split(", ")]
            assert clip[:, 0, 0, 1].tolist() == [25 * number for number in numbers]
            assert np.diff(numbers[:3]).tolist() == [1, 1] and numbers[3] < numbers[4] and len(set(numbers)) == 5
    for stored in data.val_dataloader():
        assert stored.frames.shape[1] == stored.local_frames == 3


@pytest.mark.parametrize("sampling", ["mixed", "random", "consecutive"])
def test_without_references_all_frames_of_a_clip_are_its_own(davis_root, sampling):
    data = ready(DAVIS(str(davis_root), **SIZE, sampling=sampling))
    assert all(batch.local_frames == batch.frames.shape[1] == 3 for batch in data.train_dataloader())


def test_a_moving_hole_is_where_it_would_be_at_the_time_of_a_reference(davis_root):
    options = {**SIZE, "sampling": "local_and_reference", "frames": 5, "reference_frames": 3, "clips_per_video": 3}
    distances = {1: [], 3: []}
    for batch in ready(DAVIS(str(davis_root), **options)).train_dataloader():
        for masks, file in zip(batch.masks, batch.files, strict=True):
            numbers = [int(part[:5]) for part in file.split("[")[1].split(", ")]
            by_time = masks[np.argsort(numbers)].float()  # all eight frames of the video
            for step, found in distances.items():
                found.append((by_time[step:] - by_time[:-step]).abs().mean().item())
    assert 0 < np.mean(distances[1]) < np.mean(distances[3])


def test_a_video_too_short_for_its_references_is_named(davis_root):
    options = {**SIZE, "sampling": "local_and_reference", "frames": 5, "reference_frames": 4}
    with pytest.raises(DataError, match=r"t0: too short, 8 frames for clips of 9"):
        ready(DAVIS(str(davis_root), **options))


def test_folders_zips_and_both_layouts_of_youtube_vos_give_the_same_batches(youtube_root):
    def batches(root):
        # the path is a part of the name of the files, and the only difference
        return [b._replace(files=[]) for b in ready(YouTubeVOS(str(root), **SIZE)).train_dataloader()]

    folders = batches(youtube_root)
    zip_videos(youtube_root / "train/JPEGImages")
    assert same(folders, batches(youtube_root))
    sttn = youtube_root.parent / "sttn"
    shutil.copytree(youtube_root / "train/JPEGImages", sttn / "JPEGImages")
    (sttn / "train.json").write_text('{"t0": 8, "t1": 8, "t2": 8, "t3": 8, "t4": 8, "t5": 8}')
    (sttn / "test.json").write_text('{"t0": 8}')
    assert same(folders, batches(sttn))


def test_samples_do_not_depend_on_the_number_of_workers_or_the_batch_size(davis_root):
    options = {**SIZE, "colour_jitter": 0.3, "clips_per_video": 2}
    alone = ready(DAVIS(str(davis_root), **options)).train_dataloader()
    parallel = ready(DAVIS(str(davis_root), **{**options, "workers": 2})).train_dataloader()
    for epoch in (0, 1):
        for loader in (alone, parallel):
            loader.batch_sampler.sampler.set_epoch(epoch)
        assert same(list(alone), list(parallel))
    single = list(ready(DAVIS(str(davis_root), **options, batch_size=1)).train_dataloader())
    double = list(ready(DAVIS(str(davis_root), **options, batch_size=2)).train_dataloader())
    assert torch.equal(torch.cat([b.frames for b in single]), torch.cat([b.frames for b in double]))


def test_no_two_samples_of_two_workers_and_two_epochs_share_masks_and_colours(davis_root):
    # one video, always all of its frames: whatever differs is drawn
    (davis_root / "ImageSets/2017/train.txt").write_text("t1\n")
    options = {**SIZE, "frames": 8, "workers": 2, "colour_jitter": 0.5, "clips_per_video": 8, "batch_size": 1}
    loader = ready(DAVIS(str(davis_root), **options)).train_dataloader()
    batches = list(loader)
    loader.batch_sampler.sampler.set_epoch(1)
    batches += list(loader)
    assert len({b.masks.numpy().tobytes() for b in batches}) == 16
    assert len({b.frames.numpy().tobytes() for b in batches}) == 16


def test_another_seed_gives_other_samples(davis_root):
    first, second = (list(ready(DAVIS(str(davis_root), **SIZE, seed=s)).train_dataloader()) for s in (0, 1))
    assert not same(first, second)


def test_validation_is_always_the_same_and_covers_every_video(davis_root):
    data = ready(DAVIS(str(davis_root), **SIZE, validation_frames=6), "validate")
    first, second = list(data.val_dataloader()), list(data.val_dataloader())
    assert same(first, second)
    assert [name for batch in first for name in batch.names] == ["v0", "v1", "v2"]
    assert first[0].frames.shape[1] == 6
    assert "00001.png, 00002.png, 00003.png, 00004.png, 00005.png, 00006.png" in first[0].files[0]


def test_own_objects_are_followed_and_flipped_with_the_frames(davis_root):
    options = {**SIZE, "height": 24, "width": 40, "masks": "own_object", "mask_dilation": 0, "horizontal_flip": 1.0}
    data = ready(DAVIS(str(davis_root), **options, sampling="consecutive"))
    batch = next(iter(data.train_dataloader()))
    first = [int(file.split("[")[1][:5]) for file in batch.files]
    for masks, start in zip(batch.masks, first, strict=True):
        for time, mask in enumerate(masks, start):
            expected = torch.zeros(24, 40, dtype=torch.uint8)
            expected[8:12, 4 + time : 8 + time] = 1
            assert torch.equal(mask, expected.flip(-1))


def test_between_annotations_the_nearest_counts(youtube_root):
    options = {**SIZE, "height": 24, "width": 40, "masks": "own_object", "mask_dilation": 0, "validation_frames": 8}
    masks = next(iter(ready(YouTubeVOS(str(youtube_root), **options)).val_dataloader())).masks[0]
    columns = [int(mask.any(dim=0).int().argmax()) - 4 for mask in masks]
    assert columns == [0, 0, 0, 5, 5, 5, 5, 5]


def test_objects_of_another_video_are_widened_by_the_dilation(davis_root):
    options = {**SIZE, "height": 24, "width": 40, "masks": "object"}
    batch = next(iter(ready(DAVIS(str(davis_root), **options)).train_dataloader()))
    # a 4x4 square widened by a diamond of radius 4: its box is 12 wide, cut by no border
    assert set(batch.masks.sum(dim=(2, 3)).unique().tolist()) <= {104, 100, 96}
    assert batch.masks.sum(dim=(2, 3)).max() == 104


def test_a_plain_folder_of_videos_is_split(davis_root):
    folder = davis_root / "JPEGImages/480p"
    data = ready(VideoFolder(str(folder), **SIZE, validation_fraction=0.25))
    train = {name for batch in data.train_dataloader() for name in batch.names}
    validation = {name for batch in data.val_dataloader() for name in batch.names}
    assert len(validation) == 2 and not train & validation and len(train) >= 6


def test_video_files_are_read_in_workers_as_in_the_main_process(tmp_path):
    for number in range(4):
        frames = np.full((6, 32, 64, 3), 40 * number, np.uint8) + 8 * np.arange(6, dtype=np.uint8)[:, None, None, None]
        write_video(tmp_path / f"{number}.mp4", frames, 24)
    batches = []
    for workers in (0, 2):
        data = ready(VideoFolder(str(tmp_path), **{**SIZE, "workers": workers}, batch_size=1))
        batches.append([*data.train_dataloader(), *data.val_dataloader()])
    assert len(batches[0]) == 4 and same(*batches)


def test_each_process_gets_its_part(davis_root, monkeypatch):
    names = []
    for rank in (0, 1):
        monkeypatch.setattr(base, "process_of_group", lambda rank=rank: (rank, 2))
        data = ready(DAVIS(str(davis_root), **SIZE, batch_size=1))
        names.append(
            [[n for b in loader for n in b.names] for loader in (data.train_dataloader(), data.val_dataloader())]
        )
    (train, validation), (other_train, other_validation) = names
    assert sorted(train + other_train) == [f"t{i}" for i in range(6)] and len(train) == len(other_train)
    assert sorted(validation + other_validation) == ["v0", "v1", "v2"]


def test_a_broken_file_ends_the_run_with_one_line_that_names_it(davis_root):
    break_frames(davis_root / "JPEGImages/480p/t3")
    data = ready(DAVIS(str(davis_root), **SIZE))
    with pytest.raises(DataError) as error:
        list(data.train_dataloader())
    assert "\n" not in str(error.value) and "t3/0000" in str(error.value) and "[draw " in str(error.value)


def test_the_error_of_a_worker_ends_with_that_line(davis_root):
    break_frames(davis_root / "JPEGImages/480p/t3")
    data = ready(DAVIS(str(davis_root), **{**SIZE, "workers": 1}))
    with pytest.raises(DataError) as error:
        list(data.train_dataloader())
    last = str(error.value).strip().splitlines()[-1]
    assert last.startswith("lightvid.errors.DataError: ") and "t3/0000" in last


def test_a_broken_clip_is_replaced_by_another_and_counted_when_asked_for(davis_root):
    break_frames(davis_root / "JPEGImages/480p/t3")
    options = {**SIZE, "on_error": "skip", "clips_per_video": 2}
    data = ready(DAVIS(str(davis_root), **options))
    batches = [data.on_before_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert len(batches) == 6 and "t3" not in {name for batch in batches for name in batch.names}
    assert len(data.skipped) >= 2 and all("t3/0000" in line and "\n" not in line for line in data.skipped)
    again = list(ready(DAVIS(str(davis_root), **{**options, "workers": 2})).train_dataloader())
    assert same(batches, again)


class Validation(pl.LightningModule):
    """Keeps the names of what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[list[str]] = []

    def validation_step(self, batch, index):
        assert batch.frames.shape == (len(batch.names), 3, 3, 16, 32)
        assert batch.masks.shape == (len(batch.names), 3, 1, 16, 32)
        self.names.append(batch.names)


@pytest.mark.filterwarnings("ignore")  # of Lightning: few workers
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("broken", "batch_size", "left"),
    [
        (["v1"], 3, [["v0", "v2"]]),
        (["v2"], 2, [["v0", "v1"]]),
        (["v0"], 1, [["v1"], ["v2"]]),
        (["v1"], 1, [["v0"], ["v2"]]),
        (["v0", "v2"], 1, [["v1"]]),
        (["v0", "v1"], 2, [["v2"]]),
    ],
)
def test_a_broken_validation_clip_is_left_out_and_counted_when_asked_for(davis_root, workers, broken, batch_size, left):
    for name in broken:
        break_frames(davis_root / "JPEGImages/480p" / name)
    data = DAVIS(str(davis_root), **{**SIZE, "workers": workers}, batch_size=batch_size, on_error="skip")
    module = Validation()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    for times in (1, 2):
        trainer.validate(module, data, verbose=False)
        assert module.names == left * times
        assert len(data.skipped) == len(broken) * times
    assert all(any(f"{name}/0000" in line for name in broken) and "\n" not in line for line in data.skipped)


def test_a_clip_in_a_corrupt_zip_is_skipped(davis_root):
    folder = davis_root / "JPEGImages/480p"
    zip_videos(folder)
    content = bytearray((folder / "v1.zip").read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(content)):  # of the directory
        content[entry.start() + 8] = 1  # encrypted
    (folder / "v1.zip").write_bytes(content)
    data = ready(DAVIS(str(davis_root), **SIZE, on_error="skip"), "validate")
    (first, second) = (data.on_before_batch_transfer(batch, 0) for batch in data.val_dataloader())
    assert (first.names, second.names) == (["v0"], ["v2"])
    assert len(data.skipped) == 1 and "v1.zip/0000" in data.skipped[0]


def test_when_all_validation_clips_are_broken_that_is_an_error(davis_root):
    for name in ("v0", "v1", "v2"):
        break_frames(davis_root / "JPEGImages/480p" / name)
    data = ready(DAVIS(str(davis_root), **SIZE, on_error="skip"), "validate")
    with pytest.raises(DataError, match=r"v2/0000.*all 3 validation clips") as error:
        list(data.val_dataloader())
    assert "\n" not in str(error.value) and len(data.skipped) == 3


def test_a_process_whose_validation_clips_are_all_broken_has_none(davis_root, monkeypatch):
    for name in ("v0", "v2"):
        break_frames(davis_root / "JPEGImages/480p" / name)
    monkeypatch.setattr(base, "process_of_group", lambda: (0, 2))
    data = ready(DAVIS(str(davis_root), **SIZE, on_error="skip"), "validate")
    assert list(data.val_dataloader()) == [] and len(data.skipped) == 2


def test_frames_and_annotations_with_unpadded_numbers_stay_together(davis_root):
    for kind in ("JPEGImages", "Annotations"):
        folder = davis_root / kind / "480p" / "v0"
        for file in sorted(folder.iterdir()):
            file.rename(folder / f"frame{int(file.stem) + 5}.png")  # frame5 to frame12
    options = {**SIZE, "height": 24, "width": 40, "validation_masks": "own_object", "mask_dilation": 0}
    batch = next(iter(ready(DAVIS(str(davis_root), **options, validation_frames=8)).val_dataloader()))
    assert batch.frames[0, :, 0, 0, 1].tolist() == [25 * time for time in range(8)]
    assert [int(mask.any(dim=0).int().argmax()) - 4 for mask in batch.masks[0]] == list(range(8))


def test_when_everything_is_broken_skipping_stops(davis_root):
    for folder in (davis_root / "JPEGImages/480p").iterdir():
        break_frames(folder)
    data = ready(DAVIS(str(davis_root), **SIZE, on_error="skip"))
    with pytest.raises(DataError, match="in a row"):
        next(iter(data.train_dataloader()))


def test_a_short_video_is_found_at_setup(davis_root):
    for file in sorted((davis_root / "JPEGImages/480p/t2").iterdir())[2:]:
        file.unlink()
    with pytest.raises(DataError, match="t2: too short, 2 frames for clips of 3"):
        ready(DAVIS(str(davis_root), **SIZE))
    data = ready(DAVIS(str(davis_root), **SIZE, on_error="skip"))
    assert len(data.skipped) == 1 and "t2" in data.skipped[0]
    assert "t2" not in {name for batch in data.train_dataloader() for name in batch.names}


def test_setup_decodes_no_frame(davis_root):
    for folder in (davis_root / "JPEGImages/480p").iterdir():
        break_frames(folder)
    ready(DAVIS(str(davis_root), **SIZE))


def test_a_mask_of_another_size_than_its_frame_is_named(davis_root):
    for file in (davis_root / "Annotations/480p/v0").iterdir():
        Image.fromarray(np.ones((12, 20), np.uint8)).save(file)
    data = ready(DAVIS(str(davis_root), **SIZE, masks="own_object"))
    with pytest.raises(DataError) as error:
        list(data.val_dataloader())
    assert "\n" not in str(error.value)
    assert "Annotations/480p/v0" in str(error.value) and "20x12" in str(error.value) and "40x24" in str(error.value)


def test_missing_annotations_are_named(davis_root):
    shutil.rmtree(davis_root / "Annotations/480p/v0")
    data = ready(DAVIS(str(davis_root), **SIZE, validation_masks="own_object"))
    with pytest.raises(DataError, match=r"v0: no annotations.*own_object"):
        list(data.val_dataloader())


def test_what_is_missing_of_a_dataset_is_named(davis_root, youtube_root, tmp_path):
    shutil.rmtree(davis_root / "JPEGImages/480p/t1")
    (davis_root / "ImageSets/2017/val.txt").write_text("\n")
    (youtube_root / "valid/meta.json").write_text("[]")
    (youtube_root / "train/meta.json").write_text("{")
    (tmp_path / "empty").mkdir()
    cases = {
        "no such folder": DAVIS(str(tmp_path / "nowhere"), **SIZE),
        "expected the DAVIS layout": DAVIS(str(tmp_path / "empty"), **SIZE),
        "t1: no such video": DAVIS(str(davis_root), **SIZE),
        "2016/train.txt: no such list": DAVIS(str(davis_root), **SIZE, year=2016),
        "train/meta.json: not readable as JSON": YouTubeVOS(str(youtube_root), **SIZE),
        "expected the YouTube-VOS layout": YouTubeVOS(str(tmp_path / "empty"), **SIZE),
        "empty: 0 videos": VideoFolder(str(tmp_path / "empty"), **SIZE),
    }
    for message, data in cases.items():
        with pytest.raises(DataError) as error:
            ready(data)
        assert message in str(error.value) and "\n" not in str(error.value)
    for message, data in {
        "val.txt: an empty list": DAVIS(str(davis_root), **SIZE),
        "valid/meta.json: not a list of videos": YouTubeVOS(str(youtube_root), **SIZE),
    }.items():
        with pytest.raises(DataError) as error:
            ready(data, "validate")
        assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "option",
    [
        {"masks": "square"},
        {"validation_masks": "square"},
        {"sampling": "all"},
        {"reference_frames": -1},
        {"reference_frames": 2},
        {"reference_frames": 2, "sampling": "random"},
        {"on_error": "ignore"},
        {"frames": 0},
        {"validation_frames": 0},
        {"workers": -1},
        {"horizontal_flip": 1.5},
        {"seed": -1},
        {"batch_size": 0},
    ],
)
def test_a_wrong_choice_is_named(option):
    with pytest.raises(ConfigurationError) as error:
        DAVIS("anywhere", **option)
    assert f"data.{next(iter(option))}" in str(error.value) and "\n" not in str(error.value)


def test_loaders_before_setup_say_what_is_missing(davis_root):
    data = DAVIS(str(davis_root), **SIZE)
    for loader in (data.train_dataloader, data.val_dataloader):
        with pytest.raises(ConfigurationError, match=r"call setup\('fit'\).* before \w+_dataloader\(\)$"):
            loader()


def test_a_batch_larger_than_an_epoch_is_an_error(davis_root):
    data = ready(DAVIS(str(davis_root), **SIZE, batch_size=7))
    with pytest.raises(ConfigurationError, match="batch_size"):
        data.train_dataloader()


def test_large_jpegs_give_nearly_the_same_clip_when_decoded_reduced(tmp_path):
    folder = tmp_path / "videos/one"
    folder.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    for time in range(3):
        cv2.imwrite(str(folder / f"{time}.jpg"), cv2.GaussianBlur(picture, (0, 0), 8))
    shutil.copytree(folder, tmp_path / "videos/two")
    options = {**SIZE, "validation_fraction": 0.5}
    fast, exact = (
        next(iter(ready(VideoFolder(str(tmp_path / "videos"), **options, reduced_decoding=r)).val_dataloader()))
        for r in (True, False)
    )
    assert 0 < (fast.frames.float() - exact.frames.float()).abs().mean() < 2.5
    assert torch.equal(fast.masks, exact.masks)


def test_the_dataset_can_be_used_alone(davis_root):
    data = ready(DAVIS(str(davis_root), **SIZE))
    clips = data.train_dataloader().dataset
    assert isinstance(clips, InpaintingClips) and len(clips) == 6
    assert clips[17, 4].name == "t4" and clips[17, 4].frames.equal(clips[17, 4].frames)
