"""Clips and whole videos with instances: what batches hold, determinism, and how mistakes are answered."""

import json
import logging
import shutil
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml

from lightvid.annotations import InstanceTargets, rle
from lightvid.datamodules import (
    InstanceByteBatch,
    InstanceClip,
    PublishedAugmentation,
    SampleInstances,
    YouTubeVISDataModule,
    base,
)
from lightvid.datamodules.instance_batch import CollateInstances
from lightvid.datamodules.splitting import run as split
from lightvid.errors import ConfigurationError, DataError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SIZE = {"frames": 3, "shortest": 24, "longest": None, "workers": 0}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ready(data, stage="fit"):
    data.prepare_data()
    data.setup(stage)
    return data


def tensors(batch) -> list[torch.Tensor]:
    return [batch.frames, batch.sizes, *(part for targets in batch.targets for part in targets)]


def same(first, second) -> bool:
    return all(
        a.files == b.files and all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))
        for a, b in zip(first, second, strict=True)
    )


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def hide_truth(root: Path) -> None:
    edit(root / "valid.json", lambda content: content.update(annotations=None))


def test_a_training_batch_holds_normalised_frames_and_targets(vis_root):
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE, batch_size=2, augmentation="none"))
    batches = list(data.train_dataloader())
    assert sorted(name for batch in batches for name in batch.names) == [f"t{i}" for i in range(6)]
    for stored in batches:
        assert stored.frames.dtype == torch.uint8
        batch = data.on_after_batch_transfer(stored, 0)
        assert batch.frames.shape == (2, 3, 3, 24, 40) and batch.frames.dtype == torch.float32
        assert batch.padding.shape == (2, 3, 24, 40) and not batch.padding.any()
        pixels = stored.frames.movedim(-1, 2).float() / 255
        expected = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        torch.testing.assert_close(batch.frames, expected)


def test_targets_are_the_tracks_of_the_frames_that_the_batch_names(vis_root):
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE, augmentation="none", clips_per_video=3))
    assert [(c.id, c.name) for c in data.categories] == [(3, "cat"), (7, "dog")] and data.classes == 2
    seen_blue = 0
    for batch in data.train_dataloader():
        times = [int(part[:5]) // 5 for part in batch.files[0].split("[")[1].split(", ")]
        targets = batch.targets[0]
        red, blue = batch.frames[0, ..., 0] > 200, batch.frames[0, ..., 2] > 200
        shown = [1, 0] if any(time < 4 for time in times) else [1]
        assert targets.classes.tolist() == shown, "red squares are dogs, blue ones cats and leave half-way"
        assert torch.equal(targets.masks[0], red)
        assert targets.boxes[0].tolist() == [pytest.approx([(8 + t) / 40, 11 / 24, 0.2, 0.25]) for t in times]
        if len(shown) == 2:
            seen_blue += 1
            assert torch.equal(targets.masks[1], blue)
            assert targets.visible[1].tolist() == [time < 4 for time in times]
    assert seen_blue > 5


def test_clips_of_different_sizes_are_padded_right_and_bottom():
    def clip(height, width):
        masks = torch.ones(1, 2, height, width, dtype=torch.bool)
        targets = InstanceTargets(torch.tensor([1]), torch.full((1, 2, 4), 0.5), masks.any(dim=(2, 3)), masks)
        return InstanceClip(torch.full((2, height, width, 3), 255, dtype=torch.uint8), targets, "v", "v [0]", [])

    stored = CollateInstances(size_divisor=4)([clip(5, 9), clip(6, 3)])
    assert isinstance(stored, InstanceByteBatch) and stored.frames.shape == (2, 2, 8, 12, 3)
    batch = stored.to_float()
    for index, (height, width) in enumerate([(5, 9), (6, 3)]):
        inside = torch.zeros(8, 12, dtype=torch.bool)
        inside[:height, :width] = True
        assert torch.equal(~batch.padding[index], inside.expand(2, 8, 12))
        assert torch.equal(batch.targets[index].masks, inside.expand(1, 2, 8, 12))
        assert (batch.frames[index][:, :, ~inside] == 0).all() and (batch.frames[index][:, :, inside] != 0).all()
        assert (batch.targets[index].boxes == 0.5).all(), "of the clip without its padding"


def test_validation_is_whole_videos_one_a_batch_with_their_truth(vis_root):
    data = ready(YouTubeVISDataModule(str(vis_root), **{**SIZE, "shortest": [20, 12], "longest": 30}), "validate")
    first, second = list(data.val_dataloader()), list(data.val_dataloader())
    assert same(first, second) and [batch.names for batch in first] == [["v0"], ["v1"]]
    content = json.loads((vis_root / "valid.json").read_text())
    for batch, video in zip(first, content["videos"], strict=True):
        assert batch.frames.shape == (1, 8, 18, 30, 3), "shortest 20 is lowered to 18 by longest 30"
        assert batch.targets[0].classes.shape == (0,) and batch.targets[0].masks.shape == (0, 8, 18, 30)
        (truth,) = batch.truth
        assert truth[:5] == (video["id"], video["file_names"][0].split("/")[0], 24, 40, 8)
        for track, record in zip(truth.tracks, content["annotations"][2 * video["id"] - 2 :], strict=False):
            assert all(track[key] == record[key] for key in track)


def test_validation_batches_reach_a_task_whole_and_as_bytes(vis_root):
    class Task(pl.LightningModule):
        def validation_step(self, batch, index):
            assert batch.frames.shape == (1, 8, 24, 40, 3) and batch.frames.dtype == torch.uint8
            assert batch.sizes.tolist() == [[24, 40]] and len(batch.truth[0].tracks) == 2
            assert isinstance(batch.targets[0], InstanceTargets)

    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.validate(Task(), YouTubeVISDataModule(str(vis_root), **SIZE), verbose=False)


def test_whole_videos_stay_on_the_cpu_and_training_clips_move(vis_root):
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    for loader, device in ((data.train_dataloader(), "meta"), (data.val_dataloader(), "cpu")):
        moved = data.transfer_batch_to_device(next(iter(loader)), torch.device("meta"), 0)
        assert {part.device.type for part in tensors(moved)} == {device}


@pytest.mark.parametrize(
    "augmentation", ["clean", PublishedAugmentation(first_shortest=[26], second_shortest=[24], crop=(16, 24))]
)
def test_samples_do_not_depend_on_the_workers_or_on_where_an_epoch_resumes(vis_root, augmentation):
    options = {**SIZE, "augmentation": augmentation, "sampling": "spread", "clips_per_video": 2}
    alone = ready(YouTubeVISDataModule(str(vis_root), **options)).train_dataloader()
    parallel = ready(YouTubeVISDataModule(str(vis_root), **{**options, "workers": 2})).train_dataloader()
    whole = list(alone)
    assert same(whole, list(parallel)) and len({batch.frames.numpy().tobytes() for batch in whole}) == 12
    resumed = ready(YouTubeVISDataModule(str(vis_root), **options)).train_dataloader()
    resumed.load_state_dict({"epoch": 0, "delivered": 5})
    assert same(whole[5:], list(resumed))
    alone.batch_sampler.sampler.set_epoch(1)
    assert not same(whole, list(alone))


def test_each_process_gets_its_part(vis_root, monkeypatch):
    names = []
    for rank in (0, 1):
        monkeypatch.setattr(base, "process_of_group", lambda rank=rank: (rank, 2))
        data = ready(YouTubeVISDataModule(str(vis_root), **SIZE))
        names.append(
            [[n for b in loader for n in b.names] for loader in (data.train_dataloader(), data.val_dataloader())]
        )
    (train, validation), (other_train, other_validation) = names
    assert sorted(train + other_train) == [f"t{i}" for i in range(6)]
    assert (validation, other_validation) == (["v0"], ["v1"])


def test_a_clip_may_be_longer_than_its_video(vis_root):
    data = ready(
        YouTubeVISDataModule(str(vis_root), **{**SIZE, "frames": 11}, sampling="circular", augmentation="none")
    )
    batch = next(iter(data.train_dataloader()))
    times = [int(part[:5]) // 5 for part in batch.files[0].split("[")[1].split(", ")]
    assert times == [(times[-1] - 10 + j) % 8 for j in range(11)]
    assert (batch.frames[0, 0] == batch.frames[0, 8]).all()


def test_crowds_are_not_learnt_and_videos_without_tracks_left_out(vis_root):
    def change(content):
        for track in content["annotations"]:
            track["iscrowd"] = int(track["category_id"] == 3 or track["video_id"] == 1)

    for split_file in ("train.json", "valid.json"):
        edit(vis_root / split_file, change)
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE, augmentation="none"))
    batches = list(data.train_dataloader())
    assert sorted(name for batch in batches for name in batch.names) == [f"t{i}" for i in range(1, 6)]
    assert {label for batch in batches for label in batch.targets[0].classes.tolist()} == {1}
    assert [track["iscrowd"] for track in next(iter(data.val_dataloader())).truth[0].tracks] == [1, 1]


def test_no_more_instances_than_asked_for_and_now_one_now_another(vis_root):
    options = {**SIZE, "augmentation": "none", "sampling": "circular", "frames": 8, "clips_per_video": 4}
    data = ready(YouTubeVISDataModule(str(vis_root), **options, max_instances=1))
    labels = [batch.targets[0].classes.tolist() for batch in data.train_dataloader()]
    assert all(len(label) == 1 for label in labels) and {label[0] for label in labels} == {0, 1}


def test_a_clip_in_which_nothing_is_visible_is_drawn_again_and_at_last_taken_as_it_is(vis_root):
    def keep_one_frame(content):
        for track in content["annotations"]:
            track["segmentations"][1:] = [None] * 7

    edit(vis_root / "train.json", keep_one_frame)
    options = {**SIZE, "frames": 1, "augmentation": "none", "clips_per_video": 30}
    counts = [
        len(b.targets[0].classes) for b in ready(YouTubeVISDataModule(str(vis_root), **options)).train_dataloader()
    ]
    shown = np.mean([count > 0 for count in counts])
    assert 0.35 < shown < 0.62, "one frame of eight, tried five times: 0.49"
    assert 0 in counts


def test_large_jpegs_decoded_reduced_keep_their_masks_in_place(tmp_path):
    root = tmp_path / "vis"
    height, width = 161, 239
    mask = np.zeros((height, width), np.uint8)
    mask[40:120, 61:160] = 1
    picture = np.where(mask[..., None] > 0, np.uint8(255), np.uint8(0)).repeat(3, axis=2)
    (root / "train/v").mkdir(parents=True)
    cv2.imwrite(str(root / "train/v/0.jpg"), picture)
    video = {"id": 1, "width": width, "height": height, "length": 1, "file_names": ["v/0.jpg"]}
    track = {"id": 1, "video_id": 1, "category_id": 1, "segmentations": [rle.encode(mask)]}
    content = {"videos": [video], "categories": [{"id": 1, "name": "a"}], "annotations": [track]}
    (root / "train.json").write_text(json.dumps(content))
    options = {**SIZE, "shortest": 40, "frames": 1, "augmentation": "none", "validation_annotations": "train.json"}
    for reduced in (True, False):
        data = ready(YouTubeVISDataModule(str(root), **options, reduced_decoding=reduced))
        batch = next(iter(data.train_dataloader()))
        bright, masks = batch.frames[0, ..., 0] > 127, batch.targets[0].masks[0]
        assert (bright & masks).sum() / (bright | masks).sum() > 0.9


def test_setup_says_which_files_it_uses(vis_root, caplog):
    with caplog.at_level(logging.INFO, "lightvid"):
        ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    assert f"training: {vis_root}/train.json (6 videos, 12 tracks, 2 categories), frames in" in caplog.text
    assert f"validation: {vis_root}/valid.json (2 videos, 4 tracks, 2 categories)" in caplog.text


def test_validation_without_truth_points_to_the_local_split_and_then_uses_both_its_parts(vis_root, caplog):
    hide_truth(vis_root)
    with pytest.raises(DataError, match=rf"valid.json: no annotations.*lightvid split-vis {vis_root}`") as error:
        ready(YouTubeVISDataModule(str(vis_root), **SIZE), "validate")
    assert "\n" not in str(error.value)
    split([str(vis_root), "--fraction", "0.34"])
    with caplog.at_level(logging.INFO, "lightvid"):
        data = ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    train = {name for batch in data.train_dataloader() for name in batch.names}
    validation = {name for batch in data.val_dataloader() for name in batch.names}
    assert train | validation == {f"t{i}" for i in range(6)} and len(validation) == 2 and not train & validation
    assert "annotations_split" in caplog.text


def test_without_any_validation_file_the_local_split_is_used(vis_root):
    (vis_root / "valid.json").unlink()
    with pytest.raises(DataError, match=r"no validation annotations; `lightvid split-vis"):
        ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    split([str(vis_root)])
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    assert len(data.train_dataloader()) == 5 and len(data.val_dataloader()) == 1


def test_a_local_split_is_not_used_where_the_validation_file_has_truth_unless_asked_for(vis_root):
    split([str(vis_root)])
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    assert len(data.train_dataloader()) == 6 and len(data.val_dataloader()) == 2
    files = {
        "annotations": "annotations_split/train_split.json",
        "validation_annotations": "annotations_split/valid_split.json",
    }
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE, **files))
    assert len(data.train_dataloader()) == 5 and len(data.val_dataloader()) == 1


def test_files_of_two_releases_are_not_mixed(vis_root):
    edit(vis_root / "valid.json", lambda content: content["categories"][0].update(name="wolf"))
    with pytest.raises(DataError, match=r"different categories \(7 dog, 7 wolf\)"):
        ready(YouTubeVISDataModule(str(vis_root), **SIZE))


def test_a_missing_video_is_found_at_setup_and_left_out_when_asked_for(vis_root):
    shutil.rmtree(vis_root / "train/JPEGImages/t2")
    with pytest.raises(DataError, match=r"t2/00000.png: no such frame, of video 3 in train.json; data.on_error=skip"):
        ready(YouTubeVISDataModule(str(vis_root), **SIZE))
    data = ready(YouTubeVISDataModule(str(vis_root), **SIZE, on_error="skip"))
    assert "t2" not in {name for batch in data.train_dataloader() for name in batch.names} and len(data.skipped) == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_frame_is_an_error_or_replaced_and_counted(vis_root, workers):
    for split_name, video in (("train", "t1"), ("valid", "v0")):
        for file in (vis_root / split_name / "JPEGImages" / video).iterdir():
            file.write_bytes(b"broken")
    options = {**SIZE, "workers": workers}
    with pytest.raises(DataError, match=r"t1/.*corrupt frame.*\[draw \d\]"):
        list(ready(YouTubeVISDataModule(str(vis_root), **options)).train_dataloader())
    data = ready(YouTubeVISDataModule(str(vis_root), **options, on_error="skip"))
    batches = [data.on_before_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert len(batches) == 6 and "t1" not in {name for batch in batches for name in batch.names} and data.skipped
    assert [batch.names for batch in data.val_dataloader()] == [["v1"]] and "v0/" in data.skipped[-1]


def test_a_frame_of_another_size_than_the_file_says_is_named(vis_root):
    for file in (vis_root / "train/JPEGImages/t0").iterdir():
        cv2.imwrite(str(file), np.zeros((30, 40, 3), np.uint8))
    with pytest.raises(DataError, match=r"t0/0.*40x30 pixels, but 40x24 in the annotation file"):
        list(ready(YouTubeVISDataModule(str(vis_root), **SIZE)).train_dataloader())


@pytest.mark.parametrize(
    "option",
    [
        {"frames": 0},
        {"batch_size": 0},
        {"shortest": 0},
        {"shortest": []},
        {"longest": 0},
        {"size_divisor": 0},
        {"sampling": "all"},
        {"augmentation": "blue"},
        {"max_instances": 0},
        {"max_stride": 0},
        {"on_error": "ignore"},
        {"seed": -1},
    ],
)
def test_a_wrong_choice_is_named(option):
    with pytest.raises(ConfigurationError) as error:
        YouTubeVISDataModule("anywhere", **option)
    assert f"data.{next(iter(option))}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["sample", "youtube_vis", "ovis", "shards"])
def test_the_configurations_of_the_data_build(name):
    plain = yaml.safe_load((Path(str(files("lightvid.configs"))) / f"data/vis/{name}.yaml").read_text())["data"]
    module, _, kind = plain["class_path"].rpartition(".")
    assert isinstance(getattr(import_module(module), kind)(**plain["init_args"]), YouTubeVISDataModule)


def test_the_sample_data_is_read(sample_root):
    data = ready(SampleInstances(str(sample_root), frames=5, shortest=96, longest=168, workers=0))
    assert len(data.train_dataloader()) == 96 and len(data.val_dataloader()) == 12 and data.classes == 5
    batch = next(iter(data.train_dataloader()))
    assert batch.frames.shape == (1, 5, 96, 168, 3) and batch.targets[0].visible.any(dim=1).all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips in ../shared/data")
@pytest.mark.parametrize("augmentation", ["clean", "published"])
def test_the_real_clips_are_read(augmentation):
    data = ready(YouTubeVISDataModule(str(SHARED / "youtube_vis"), frames=4, workers=0, augmentation=augmentation))
    for batch in data.train_dataloader():
        assert min(batch.frames.shape[2:4]) <= 300 and max(batch.frames.shape[2:4]) <= 540
        assert set(batch.targets[0].classes.tolist()) <= {0, 7}, "person and dog"
    (batch,) = data.val_dataloader()
    assert batch.frames.shape == (1, 40, 300, 540, 3) and batch.truth[0].tracks[0]["category_id"] == 1
