"""Tar shards give what the folder gives, each clip once, whoever reads them."""

import functools
import http.server
import json
import shutil
import threading

import pytest
import torch

from lightvid.datamodules import DAVIS, TarShards
from lightvid.datamodules.shards import module
from lightvid.datamodules.shards.order import TrainingOrder, ValidationOrder, Worker
from lightvid.datamodules.shards.writing import run, write_shards
from lightvid.errors import ConfigurationError, DataError
from lightvid.training import train

OPTIONS = {"height": 16, "width": 32, "frames": 3, "batch_size": 1, "colour_jitter": 0.3, "workers": 0}
PROCESSES = [(processes, workers) for processes in (1, 2, 3) for workers in (0, 1, 2)]


@pytest.fixture
def root(davis_root, tmp_path):
    """Six videos to train on in shards of four and two, three to validate on in one."""
    files = [*(davis_root / "JPEGImages/480p/t0").iterdir(), *(davis_root / "Annotations/480p/t0").iterdir()]
    size = sum(file.stat().st_size for file in files) + 300  # and what they are called
    folder = tmp_path / "shards"
    folder.mkdir()
    written = write_shards(DAVIS(str(davis_root)), folder, shard_bytes=int(3.5 * size))
    assert [len(shard.videos) for shard in written.splits["train"]] == [4, 2]
    return folder


def read(root, monkeypatch, process=(0, 1), *, epoch=0, **options):
    """The training loader of one process, in an epoch."""
    monkeypatch.setattr(module, "process_of_group", lambda: process)
    data = TarShards(str(root), **{**OPTIONS, **options})
    data.setup("fit")
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return data, loader


def same(one, other):
    return torch.equal(one.frames, other.frames) and torch.equal(one.masks, other.masks) and one.files == other.files


@pytest.mark.parametrize(("processes", "workers"), PROCESSES)
def test_an_epoch_has_every_clip_once_and_as_many_batches_on_every_process(root, monkeypatch, processes, workers):
    seen, lengths = [], []
    for rank in range(processes):
        _, loader = read(root, monkeypatch, (rank, processes), workers=workers, clips_per_video=3)
        batches = list(loader)
        assert len(batches) == len(loader)
        lengths.append(len(batches))
        seen += [(batch.names[0], batch.frames.sum().item(), batch.masks.sum().item()) for batch in batches]
    assert lengths == [18 // processes] * processes
    assert len(set(seen)) == 18
    assert sorted(name for name, *_ in seen) == sorted(3 * [f"t{number}" for number in range(6)])


@pytest.mark.parametrize(("processes", "workers"), PROCESSES)
def test_validation_reads_every_video_once_and_gives_what_the_folder_gives(
    root, davis_root, monkeypatch, processes, workers
):
    folder = DAVIS(str(davis_root), **OPTIONS, masks="own_object")
    folder.setup("validate")
    expected = {batch.names[0]: batch for batch in folder.val_dataloader()}
    seen = []
    for rank in range(processes):
        data, _ = read(root, monkeypatch, (rank, processes), workers=workers, masks="own_object")
        for batch in data.val_dataloader():
            seen.append(batch.names[0])
            assert torch.equal(batch.frames, expected[batch.names[0]].frames)
            assert torch.equal(batch.masks, expected[batch.names[0]].masks)
    assert sorted(seen) == ["v0", "v1", "v2"]


def test_a_clip_is_the_one_that_the_folder_gives_for_its_draw(root, davis_root, monkeypatch):
    folder = DAVIS(str(davis_root), **OPTIONS)
    folder.setup("fit")
    _, loader = read(root, monkeypatch, epoch=2, clips_per_video=2)
    order = TrainingOrder([4, 2], 1, clips_per_video=2, buffer=16, seed=0, epoch=2)
    plan = order.plan(Worker())
    for batch, turn in zip(loader, plan.turns, strict=True):
        draw, video = plan.clips[turn]
        clip = folder._train[draw, video]
        assert torch.equal(batch.frames[0], clip.frames) and torch.equal(batch.masks[0], clip.masks)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "processes", "workers"),
    [([7, 1, 5, 2], 2, 1, 1), ([7, 1, 5, 2], 2, 3, 2), ([1, 1, 9], 3, 2, 4), ([2], 1, 1, 3), ([30, 3], 4, 2, 3)],
)
def test_less_than_one_batch_of_each_process_is_left_out_and_other_clips_each_time(
    sizes, batch_size, processes, workers
):
    left_out = set()
    for epoch in range(6):
        order = TrainingOrder(sizes, batch_size, clips_per_video=1, buffer=3, seed=1, epoch=epoch)
        plans = [order.plan(Worker(r, processes, w, workers)) for r in range(processes) for w in range(workers)]
        videos = [clip.video for plan in plans for clip in plan.clips]
        assert len(videos) == len(set(videos)) == sum(sizes) // (batch_size * processes) * batch_size * processes
        assert all(sorted(plan.turns) == list(range(len(plan.clips))) for plan in plans)
        left_out |= {frozenset(range(sum(sizes))) - set(videos)}
    assert len(left_out) > 1 or left_out == {frozenset()}


def test_validation_shares_cover_everything_also_with_more_processes_than_videos():
    for processes, workers, batch_size in ((1, 3, 2), (4, 2, 2), (9, 1, 1)):
        order = ValidationOrder([2, 5], batch_size)
        plans = [order.plan(Worker(r, processes, w, workers)) for r in range(processes) for w in range(workers)]
        assert sorted(clip.video for plan in plans for clip in plan.clips) == list(range(7))
        batches = sum(-(-len(plan.clips) // batch_size) for plan in plans)
        assert batches == sum(order.batches(Worker(r, processes)) for r in range(processes))


def test_the_order_is_that_of_the_seed_and_the_epoch(root, monkeypatch):
    def order(seed, epoch):
        _, loader = read(root, monkeypatch, epoch=epoch, seed=seed, clips_per_video=3)
        return [batch.files[0] for batch in loader]

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_the_shuffle_buffer_bounds_how_far_a_video_moves():
    order = TrainingOrder([40], 1, clips_per_video=2, buffer=5, seed=0)
    turns = order.plan(Worker()).turns
    moved = [abs(turn // 2 - index // 2) for turn, index in enumerate(turns)]
    assert 2 <= max(moved) <= 6
    assert TrainingOrder([9], 1, clips_per_video=1, buffer=0, seed=0).plan(Worker()).turns == list(range(9))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_resumed_epoch_goes_on_exactly(root, monkeypatch, workers):
    options = {"workers": workers, "clips_per_video": 3, "masks": "object", "shuffle_buffer": 3, "epoch": 1}
    _, loader = read(root, monkeypatch, **options)
    whole = list(loader)
    for stop in (1, 7, 17):
        _, stopped = read(root, monkeypatch, **options)
        for _ in zip(range(stop), stopped):  # noqa: B905
            pass
        state = stopped.state_dict()
        assert state["delivered"] == stop
        _, resumed = read(root, monkeypatch, **options)
        resumed.load_state_dict(state)
        rest = list(resumed)
        assert len(rest) == 18 - stop and all(map(same, rest, whole[stop:]))
    _, other = read(root, monkeypatch, **{**options, "workers": workers + 2})
    with pytest.raises(ConfigurationError, match=r"workers=\d \(was \d\): set it back to resume"):
        other.load_state_dict(state)
        next(iter(other))


def test_a_checkpoint_with_the_place_alone_is_gone_on_with(root, monkeypatch):
    _, loader = read(root, monkeypatch)
    loader.load_state_dict({"epoch": 1, "delivered": 2})
    assert len(list(loader)) == len(loader) - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shuffle_buffer": 9}, r"shuffle_buffer=9 \(was 3\)"),
        ({"seed": 5}, r"seed=5 \(was 0\)"),
        ({"clips_per_video": 1}, r"clips_per_video=1 \(was 3\)"),
        ({"frames": 4, "on_error": "skip"}, r"videos=5 \(was 6\)"),
    ],
)
def test_an_epoch_does_not_go_on_in_another_order(root, monkeypatch, change, message):
    options = {"clips_per_video": 3, "shuffle_buffer": 3}
    replace(root, " 8,\n", " 3,\n")  # a video that is too short for clips of four
    _, stopped = read(root, monkeypatch, **options)
    for _ in zip(range(7), stopped):  # noqa: B905
        pass
    _, other = read(root, monkeypatch, **{**options, **change})
    with pytest.raises(ConfigurationError, match=f"{message}: set it back to resume") as caught:
        other.load_state_dict(stopped.state_dict())
        next(iter(other))
    assert "\n" not in str(caught.value)


def test_after_a_whole_epoch_another_order_may_follow(root, monkeypatch):
    _, whole = read(root, monkeypatch, clips_per_video=1)
    assert len(list(whole)) == 6
    _, other = read(root, monkeypatch, clips_per_video=3, seed=5)
    other.load_state_dict(whole.state_dict())
    assert other.sampler.epoch == 1 and len(list(other)) == 18


def test_a_run_on_shards_resumes_to_the_same_weights(tiny, sample_root, tmp_path):
    folder = tmp_path / "shards"
    run(["--data", "davis", "--root", f"{sample_root}/davis", "-o", str(folder), "--shard-size", "2"])
    arguments = ["data=shards", f"data.root={folder}", "data.clips_per_video=1", "task.schedule=null"]
    quiet = ["callbacks.pictures=null", "trainer.limit_val_batches=1"]
    whole = train(tiny("name=whole", *arguments, *quiet, "trainer.max_steps=14"))
    parts = train(tiny("name=parts", *arguments, *quiet, "trainer.max_steps=4"))
    train([f"resume={parts}", "trainer.max_steps=14"])
    one, two = (torch.load(r / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for r in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture
def address(root, monkeypatch):
    """Serves the shards."""
    if shutil.which("curl") is None:
        pytest.skip("addresses are opened by curl")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(root))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_shards_stream_from_an_address(root, address, monkeypatch):
    _, remote = read(address, monkeypatch)
    _, local = read(root, monkeypatch)
    assert [b.frames.sum() for b in remote] == [b.frames.sum() for b in local]


def test_what_cannot_be_fetched_is_not_called_damaged(root, address, monkeypatch):
    _, loader = read(address, monkeypatch)
    (root / "train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar: cannot be fetched \(curl .* 22: the server") as caught:
        list(loader)
    assert "write the shards again" not in str(caught.value)
    (root / "index.json").unlink()
    with pytest.raises(DataError, match=r"index\.json: cannot be fetched \(curl .* 22: the server"):
        read(address, monkeypatch)
    with pytest.raises(DataError, match=r"index\.json: cannot be fetched \(curl ends with status 7: no connection\)"):
        read("http://127.0.0.1:9", monkeypatch)
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(DataError, match=r"cannot be fetched \(curl: No such file or directory\)"):
        read(address, monkeypatch)


def test_a_transfer_that_breaks_off_is_told_from_a_damaged_shard(root, address, monkeypatch):
    tar = root / "train-000000.tar"
    whole = tar.read_bytes()
    tar.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"train-000000\.tar: cannot read video t\d \(.*\); write the shards again"):
        list(read(address, monkeypatch)[1])
    tar.write_bytes(whole)

    def half(handler, source, target):
        target.write(source.read()[: tar.stat().st_size // 2] if source.name.endswith(".tar") else source.read())

    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "copyfile", half)
    with pytest.raises(DataError, match=r"\.tar: cannot be fetched \(curl ends with status 18: the transfer broke off"):
        list(read(address, monkeypatch)[1])


def test_a_root_is_never_run_as_a_command(root, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such index of shards"):
        read(f"pipe:touch {tmp_path}/made; cat {root}", monkeypatch)
    with pytest.raises(DataError, match="no such index of shards"):
        read("pipe:touch made; cat", monkeypatch)
    (tmp_path / "pipe:touch made; cat").symlink_to(root)
    assert len(list(read("pipe:touch made; cat", monkeypatch)[1])) == 6
    assert not list(tmp_path.rglob("made*"))


def test_members_are_the_files_as_they_are(root, davis_root):
    import tarfile

    with tarfile.open(root / "train-000000.tar") as tar:
        names = tar.getnames()
        assert names[:2] == ["000000.frame.000000.png", "000000.frame.000001.png"] and "000000.video.json" in names
        original = (davis_root / "JPEGImages/480p/t0/00001.png").read_bytes()
        assert tar.extractfile("000000.frame.000001.png").read() == original


def test_a_shard_that_is_cut_off_is_named_or_its_videos_are_skipped(root, monkeypatch):
    tar = root / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    _, loader = read(root, monkeypatch)
    with pytest.raises(
        DataError, match=r"train-000000\.tar: cannot read video t\d \(.*\); write the shards again"
    ) as e:
        list(loader)
    assert "\n" not in str(e.value)
    _, loader = read(root, monkeypatch, on_error="skip")
    batches = list(loader)
    assert len(batches) == 6 and 1 <= sum(len(batch.skipped) > 0 for batch in batches) < 6


@pytest.mark.parametrize("masks", ["moving", "object"])
@pytest.mark.parametrize("buffer", [0, 16])
def test_one_missing_shard_never_ends_a_run_that_skips(root, monkeypatch, masks, buffer):
    (root / "train-000001.tar").unlink()
    options = {"on_error": "skip", "shuffle_buffer": buffer, "masks": masks}
    for epoch in range(8):
        whole = list(read(root, monkeypatch, epoch=epoch, **options)[1])
        assert len(whole) == 6 and not {name for batch in whole for name in batch.names} & {"t4", "t5"}
        assert sum(len(batch.skipped) > 0 for batch in whole) >= 2
        _, resumed = read(root, monkeypatch, **options)
        resumed.load_state_dict({"epoch": epoch, "delivered": 3})
        assert all(map(same, list(resumed), whole[3:]))


def test_a_shard_that_is_missing_is_named(root, monkeypatch):
    (root / "train-000001.tar").unlink()
    with pytest.raises(DataError, match=r"train-000001\.tar: cannot read video t\d \(No such file or directory\)"):
        list(read(root, monkeypatch)[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "index.json").unlink(), "no such index of shards"),
        (lambda folder: (folder / "index.json").write_text("{"), "not readable as JSON"),
        (lambda folder: (folder / "index.json").write_text("[1]"), "not an index of shards"),
        (lambda folder: (folder / "index.json").write_text('{"version": 9}'), "version 9"),
        (lambda folder: replace(folder, "train-000000.tar", "../secret.tar"), "not the name of a file beside it"),
        (lambda folder: replace(folder, "train-000000.tar", "pipe:touch x"), "not the name of a file beside it"),
        (lambda folder: replace(folder, " 8,\n", " 2,\n"), "t0: too short, 2 frames for clips of 3"),
    ],
)
def test_a_wrong_index_is_answered_in_one_line(root, monkeypatch, change, message):
    change(root)
    with pytest.raises(DataError, match=message) as caught:
        read(root, monkeypatch)
    assert "\n" not in str(caught.value)


def replace(folder, old, new):
    """Change the first such text in the index."""
    index = folder / "index.json"
    assert old in index.read_text()
    index.write_text(index.read_text().replace(old, new, 1))
    json.loads(index.read_text())


def test_the_command_refuses_what_it_cannot_write(davis_root, root, tmp_path):
    common = ["--data", "davis", "--root", str(davis_root), "-o"]
    with pytest.raises(ConfigurationError, match="holds other files; shards need a folder of their own"):
        run([*common, str(root)])
    for size in ("-1", "nan", "inf"):
        with pytest.raises(ConfigurationError, match=f"expected megabytes above 0, got {size}"):
            run([*common, str(tmp_path / "new"), "--shard-size", size])
    with pytest.raises(DataError, match="no such folder"):
        run(["--data", "davis", "--root", str(tmp_path / "nothing"), "-o", str(tmp_path / "new")])


def test_an_index_that_cannot_be_written_leaves_nothing_behind(davis_root, tmp_path, monkeypatch):
    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    command = ["--data", "davis", "--root", str(davis_root), "-o", str(tmp_path / "shards")]
    with monkeypatch.context() as patch:
        patch.setattr("lightvid.datamodules.shards.index.os.replace", full_disk)
        with pytest.raises(ConfigurationError, match="No space left on device"):
            run(command)
    assert list((tmp_path / "shards").iterdir()) == []
    run(command)


def test_after_a_video_that_cannot_be_written_the_same_command_may_follow(davis_root, tmp_path):
    dataset, target = tmp_path / "dataset", tmp_path / "shards"
    shutil.copytree(davis_root, dataset)
    frames = dataset / "JPEGImages/480p/v1"
    frames.rename(tmp_path / "away")
    command = ["--data", "davis", "--root", str(dataset), "-o", str(target), "--shard-size", "0.001"]
    with pytest.raises(DataError, match="v1"):
        run(command)
    assert list(target.iterdir()) == []
    (tmp_path / "away").rename(frames)
    run(command)
    assert (target / "index.json").is_file()
