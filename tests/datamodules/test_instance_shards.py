"""Tar shards of instances give what the folder of YouTube-VIS gives, whoever reads them."""

import json
import shutil

import numpy as np
import pytest
import torch

from lightvid.annotations import rle
from lightvid.configuration import compose
from lightvid.datamodules import DAVIS, InstanceShards, TarShards, YouTubeVISDataModule
from lightvid.datamodules.shards import module
from lightvid.datamodules.shards.order import TrainingOrder, Worker
from lightvid.datamodules.shards.writing import run, write_shards
from lightvid.datamodules.splitting import run as split
from lightvid.errors import ConfigurationError, DataError
from lightvid.metrics import YouTubeVISAP
from lightvid.training import train

OPTIONS = {"frames": 3, "shortest": 24, "longest": None, "workers": 0}
PROCESSES = [(processes, workers) for processes in (1, 2, 3) for workers in (0, 1, 2)]


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def odd_root(vis_root):
    """`vis_root` with a crowd, a video without visible tracks, areas that are not those of the masks, and polygons."""

    def change(content):
        tracks = content["annotations"]
        tracks[0]["iscrowd"] = 1
        tracks[1]["areas"] = [1.5 if area else None for area in tracks[1]["areas"]]
        tracks[2]["segmentations"][0] = [[4, 8, 12, 8, 12, 14, 4, 14]]
        for track in tracks:
            if track["video_id"] == 6:
                track["segmentations"], track["areas"] = [None] * 8, [None] * 8

    for file in ("train.json", "valid.json"):
        edit(vis_root / file, change)
    return vis_root


@pytest.fixture
def root(odd_root, tmp_path):
    """Six videos in shards of two, of the last of which nothing is to be learnt, and two to validate on."""
    folder = tmp_path / "shards"
    folder.mkdir()
    index = write_shards(YouTubeVISDataModule(str(odd_root)), folder, shard_bytes=4_000)
    assert [len(shard.videos) for shard in index.splits["train"]] == [2, 2, 2]
    return folder


def read(kind, root, stage="fit", **options):
    data = kind(str(root), **{**OPTIONS, **options})
    data.setup(stage)
    return data


def same(one, other):
    """All but the paths, which name the shard instead of the folder."""
    assert torch.equal(one.frames, other.frames) and torch.equal(one.sizes, other.sizes)
    assert one.names == other.names and one.truth == other.truth and one.skipped == other.skipped
    for targets, others in zip(one.targets, other.targets, strict=True):
        assert all(map(torch.equal, targets, others))


@pytest.mark.parametrize(
    "options",
    [
        {"augmentation": "clean", "shortest": [20, 24], "size_divisor": 16},
        {"augmentation": "published", "max_instances": 1},
        {"augmentation": "none", "sampling": "circular", "longest": 30},
    ],
)
def test_a_clip_is_the_one_that_the_folder_gives_for_its_draw(root, odd_root, options):
    folder = read(YouTubeVISDataModule, odd_root, **options)
    shards = read(InstanceShards, root, clips_per_video=2, seed=0, **options)
    loader = shards.train_dataloader()
    loader.sampler.set_epoch(2)
    order = TrainingOrder([2, 2, 1], 1, clips_per_video=2, buffer=16, seed=0, epoch=2)
    plan = order.plan(Worker())
    names = []
    for batch, turn in zip(loader, plan.turns, strict=True):
        draw, video = plan.clips[turn]
        same(batch, folder.collate([folder._train[draw, video]]))
        names += batch.names
    assert sorted(names) == sorted(2 * ["t0", "t1", "t2", "t3", "t4"])


def test_padding_and_floats_are_those_of_the_folder(root, odd_root):
    options = {"augmentation": "none", "size_divisor": 32, "batch_size": 5, "frames": 8, "shuffle_buffer": 0}
    shards = read(InstanceShards, root, **options)
    batch = shards.on_after_batch_transfer(next(iter(shards.train_dataloader())), 0)
    assert batch.frames.shape == (5, 8, 3, 32, 64)
    assert batch.padding[:, :, 24:].all() and batch.padding[..., 40:].all() and not batch.padding[:, :, :24, :40].any()
    assert (batch.frames.movedim(2, -1)[batch.padding] == 0).all()


@pytest.mark.parametrize(("processes", "workers"), PROCESSES)
def test_nothing_is_doubled_or_lost_and_validation_is_the_folders(root, odd_root, monkeypatch, processes, workers):
    folder = {batch.names[0]: batch for batch in read(YouTubeVISDataModule, odd_root, "validate").val_dataloader()}
    trained, validated = [], []
    for rank in range(processes):
        monkeypatch.setattr(module, "process_of_group", lambda rank=rank: (rank, processes))
        data = read(InstanceShards, root, workers=workers, clips_per_video=6)
        batches = list(data.train_dataloader())
        assert len(batches) == len(data.train_dataloader()) == 30 // processes
        trained += [(batch.names[0], batch.files[0], batch.frames.sum().item()) for batch in batches]
        for batch in data.val_dataloader():
            same(batch, folder[batch.names[0]])
            validated += batch.names
    assert sorted(name for name, *_ in trained) == sorted(6 * ["t0", "t1", "t2", "t3", "t4"])
    assert sorted(validated) == ["v0", "v1"]


def test_a_resumed_epoch_goes_on_exactly(root):
    options = {"workers": 2, "clips_per_video": 3, "shuffle_buffer": 3}
    whole = list(read(InstanceShards, root, **options).train_dataloader())
    stopped = read(InstanceShards, root, **options).train_dataloader()
    for _ in zip(range(7), stopped):  # noqa: B905
        pass
    resumed = read(InstanceShards, root, **options).train_dataloader()
    resumed.load_state_dict(stopped.state_dict())
    for one, other in zip(resumed, whole[7:], strict=True):
        same(one, other)


def test_a_run_on_shards_resumes_to_the_same_weights(tiny_vis, vis_root, tmp_path, capsys):
    folder = tmp_path / "shards"
    run(["--data", "youtube_vis", "--root", str(vis_root), "-o", str(folder), "--shard-size", "0.01"])
    assert f"task=vis data=shards data.root={folder}" in capsys.readouterr().out
    quiet = ["callbacks.pictures=null", "callbacks.masks=null", "task.schedule=null", "data.clips_per_video=1"]
    arguments = ["data=shards", f"data.root={folder}", "trainer.limit_val_batches=1", *quiet]
    whole = train(tiny_vis("name=whole", *arguments, "trainer.max_steps=8"))
    parts = train(tiny_vis("name=parts", *arguments, "trainer.max_steps=4"))
    train([f"resume={parts}", "trainer.max_steps=8"])
    one, two = (torch.load(r / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for r in (whole, parts))
    assert one and all(torch.equal(one[name], two[name]) for name in one)


def test_average_precision_is_that_of_the_folder(root, odd_root):
    def score(data):
        metric = YouTubeVISAP([category.id for category in data.categories])
        for batch in data.val_dataloader():
            (truth,) = batch.truth
            red = (batch.frames[0, ..., 0] > 200).numpy()
            moved = np.roll(red, truth.video_id, axis=1)  # further off in the second video
            track = {"video_id": truth.video_id, "category_id": 7, "score": 1 / truth.video_id}
            track["segmentations"] = [rle.encode(mask) for mask in moved]
            metric.update([track], truth.tracks, length=truth.length)
        return {name: value.item() for name, value in metric.compute().items()}

    shards = score(read(InstanceShards, root, "validate"))
    assert shards == score(read(YouTubeVISDataModule, odd_root, "validate")) and 0 < shards["AP"] < 1


def test_the_videos_of_a_choice_and_of_training_can_be_validated_on(root, odd_root):
    options = {"videos": ["t5", "t1", "t0"], "validate_on_training": True}
    shards, folder = (
        read(kind, place, **options) for kind, place in ((InstanceShards, root), (YouTubeVISDataModule, odd_root))
    )
    for one, other in zip(shards.val_dataloader(), folder.val_dataloader(), strict=True):
        same(one, other)
    assert sorted(name for batch in shards.train_dataloader() for name in batch.names) == ["t0", "t1"]
    with pytest.raises(DataError, match=r"none of data.videos=\['cat'\] is in the train shards, as t0, t1, t2"):
        read(InstanceShards, root, **{**options, "videos": ["cat"]})


def test_the_local_split_is_written_where_the_benchmark_keeps_its_truth(vis_root, tmp_path):
    edit(vis_root / "valid.json", lambda content: content.update(annotations=None))
    with pytest.raises(DataError, match=rf"valid.json: no annotations.*lightvid split-vis {vis_root}`"):
        run(["--data", "ovis", "--root", str(vis_root), "-o", str(tmp_path / "shards")])
    split([str(vis_root), "--fraction", "0.34"])
    run(["--data", "ovis", "--root", str(vis_root), "-o", str(tmp_path / "shards")])
    data = read(InstanceShards, tmp_path / "shards")
    assert data.classes == 2 and [(c.id, c.name) for c in data.categories] == [(3, "cat"), (7, "dog")]
    assert (len(data.train_dataloader()), len(data.val_dataloader())) == (4, 2)


def test_another_annotation_file_is_chosen_when_shards_are_written(vis_root, root, tmp_path):
    shutil.copy(vis_root / "train.json", vis_root / "other.json")
    edit(
        vis_root / "other.json",
        lambda content: content.update(videos=content["videos"][:1], annotations=content["annotations"][:2]),
    )
    command = ["--root", str(vis_root), "-o", str(tmp_path / "new"), "--annotations", "other.json"]
    with pytest.raises(ConfigurationError, match="--annotations: of youtube_vis and ovis alone, not of davis"):
        run(["--data", "davis", *command])
    with pytest.raises(ConfigurationError, match=r"data.annotations=other.json: .* --annotations other.json` writes"):
        read(InstanceShards, root, annotations="other.json")
    edit(vis_root / "other.json", lambda content: content["annotations"][1].update(iscrowd=0))
    run(["--data", "youtube_vis", *command])
    assert json.loads((tmp_path / "new/index.json").read_text())["train"][0]["videos"] == [["000000", "t0", 8, True]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][3].update(category_id=99), r"train.json: track 4: unknown category_id 99"),
        (
            lambda c: c["annotations"][3]["segmentations"].pop(),
            r"train.json: track 4: 7 segmentations for a video of 8",
        ),
        (
            lambda c: c["annotations"][2]["segmentations"][5].update(counts="5"),
            r"train.json: track 3, frame 5: damaged",
        ),
        (lambda c: c["videos"][1]["file_names"].__setitem__(3, "t1/9.png"), r"t1/9.png: cannot read this frame"),
        (
            lambda c: c["videos"][1]["file_names"].__setitem__(0, "t1/9.png"),
            r"t1/9.png: no such frame, of video 2 .*; put it there, or choose",
        ),
    ],
)
def test_a_damaged_record_is_one_line_and_leaves_nothing_behind(vis_root, tmp_path, change, message):
    edit(vis_root / "train.json", change)
    with pytest.raises(DataError, match=message) as caught:
        run(["--data", "youtube_vis", "--root", str(vis_root), "-o", str(tmp_path / "shards")])
    assert "\n" not in str(caught.value) and not list((tmp_path / "shards").iterdir())


def test_a_record_that_is_wrong_in_a_shard_is_named_and_the_videos_after_it_are_read(root):
    tar = root / "train-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b'"category_id": 7', b'"category_id": 8', 1))
    with pytest.raises(DataError, match=r"train-000000.tar/000000.instances.json: track 1: unknown category_id 8") as e:
        list(read(InstanceShards, root).train_dataloader())
    assert "\n" not in str(e.value)
    batches = list(read(InstanceShards, root, on_error="skip", clips_per_video=4).train_dataloader())
    assert len(batches) == 20 and sum(len(batch.skipped) > 0 for batch in batches) >= 4
    assert {name for batch in batches for name in batch.names} == {"t1", "t2", "t3", "t4"}


@pytest.mark.parametrize("buffer", [0, 16])
def test_one_broken_video_never_ends_a_run_and_its_replacements_are_the_same_when_resumed(root, buffer):
    tar = root / "train-000000.tar"
    tar.write_bytes(tar.read_bytes().replace(b'"category_id": 7', b'"category_id": 8', 1))
    options = {"on_error": "skip", "shuffle_buffer": buffer, "frames": 1, "augmentation": "none"}
    data = read(InstanceShards, root, **options)
    whole = data.train_dataloader()
    for epoch in range(30):
        whole.sampler.set_epoch(epoch)
        batches = list(whole)
        (place,) = [number for number, batch in enumerate(batches) if batch.skipped]
        assert len(batches) == 5 and len(batches[place].skipped) == 1 and batches[place].names != ["t0"]
        if epoch % 10 == 0:
            resumed = read(InstanceShards, root, **options).train_dataloader()
            resumed.load_state_dict({"epoch": epoch, "delivered": place})
            for one, other in zip(resumed, batches[place:], strict=True):
                same(one, other)


def test_when_no_video_of_the_shards_can_be_read_the_run_ends(root):
    for tar in root.glob("train-*.tar"):
        tar.unlink()
    with pytest.raises(DataError, match="for 20 clips in a row: is the whole dataset broken"):
        list(read(InstanceShards, root, on_error="skip", shuffle_buffer=0).train_dataloader())


def test_a_shard_that_is_missing_leaves_out_its_videos_in_validation(odd_root, tmp_path):
    root = tmp_path / "small"
    root.mkdir()
    write_shards(YouTubeVISDataModule(str(odd_root)), root, shard_bytes=1)
    assert (root / "validation-000001.tar").is_file()
    (root / "validation-000000.tar").unlink()
    with pytest.raises(DataError, match=r"validation-000000.tar: cannot read video v0 \(No such file or directory\)"):
        list(read(InstanceShards, root, "validate").val_dataloader())
    data = read(InstanceShards, root, "validate", on_error="skip")
    assert [batch.names for batch in data.val_dataloader()] == [["v1"]]
    assert len(data.skipped) == 1 and "cannot read video v0" in data.skipped[0]
    (root / "validation-000001.tar").unlink()
    with pytest.raises(DataError, match="is the whole dataset broken"):
        list(read(InstanceShards, root, "validate", on_error="skip").val_dataloader())


def test_shards_of_the_other_kind_are_refused_in_one_line(root, davis_root, tmp_path):
    (tmp_path / "holes").mkdir()
    write_shards(DAVIS(str(davis_root)), tmp_path / "holes", shard_bytes=10**6)
    with pytest.raises(
        ConfigurationError, match=r"clips for inpainting: task=inpaint data=shards trains .* data.inpainting.root"
    ) as caught:
        read(InstanceShards, tmp_path / "holes")
    assert "\n" not in str(caught.value) and str(tmp_path / "holes") in str(caught.value)
    with pytest.raises(
        ConfigurationError, match=r"videos with instances: task=vis data=shards trains .* data.segmentation.root"
    ) as caught:
        TarShards(str(root)).setup("fit")
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_an_index_without_a_kind_is_of_inpainting(davis_root, tmp_path):
    write_shards(DAVIS(str(davis_root)), tmp_path, shard_bytes=10**6)

    def as_at_first(index):
        del index["kind"]
        for split_name in ("train", "validation"):
            for shard in index[split_name]:
                shard["videos"] = [video[:3] for video in shard["videos"]]

    edit(tmp_path / "index.json", as_at_first)
    data = TarShards(str(tmp_path), frames=3, height=16, width=32, workers=0, batch_size=1)
    data.setup("fit")
    assert len(list(data.train_dataloader())) == 6


def test_the_task_says_which_shards_data_means():
    def kind(data):
        return data["class_path"].rpartition(".")[2]

    assert kind(compose(["task=inpaint", "data=shards", "data.root=x"])["data"]) == "TarShards"
    assert kind(compose(["task=vis", "data=shards", "data.root=x"])["data"]) == "InstanceShards"
    both = compose(["task=joint", "data=shards", "data.inpainting.root=x", "data.segmentation.root=y"])["data"]
    assert list(map(kind, both["init_args"].values())) == ["TarShards", "InstanceShards"]


def test_shards_of_a_writer_that_was_killed_are_not_taken_for_a_dataset_nor_overwritten(vis_root, tmp_path):
    target = tmp_path / "shards"
    command = ["--data", "youtube_vis", "--root", str(vis_root), "-o", str(target)]
    target.mkdir()
    (target / "train-000000.tar").write_bytes(b"some videos")
    (target / ".index.json.partial").write_text("{")
    with pytest.raises(DataError, match=r"index.json: no such index of shards \(written last by"):
        read(InstanceShards, target)
    with pytest.raises(
        ConfigurationError, match=r"shards without an index.json, .* delete the folder to write again"
    ) as caught:
        run(command)
    assert "\n" not in str(caught.value) and (target / "train-000000.tar").read_bytes() == b"some videos"
    (target / "train-000000.tar").unlink()
    (target / ".index.json.partial").unlink()
    run(command)
    assert (target / "index.json").is_file()
