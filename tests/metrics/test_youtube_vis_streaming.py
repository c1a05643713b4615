"""YouTube-VIS AP video by video: the same numbers as from files, in one process or several."""

import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

from lightvid.annotations.rle import encode
from lightvid.errors import DataError
from lightvid.metrics import YouTubeVISAP, youtube_vis_ap

SIDE, VIDEOS = 24, 6


def mask(random):
    if random.random() < 0.2:
        return None
    canvas = np.zeros((SIDE, SIDE), bool)
    x, y = random.integers(0, 4, 2)
    canvas[y : y + random.integers(8, 20), x : x + random.integers(8, 20)] = True
    return encode(canvas)


def videos():
    """`(predictions, tracks, length)` of each video; the last has neither."""
    random = np.random.default_rng(0)
    entries = []
    for video in range(1, VIDEOS):
        length = int(random.integers(1, 4))
        common = [{"video_id": video, "category_id": int(random.integers(1, 4))} for _ in range(9)]
        records = [{**fields, "segmentations": [mask(random) for _ in range(length)]} for fields in common]
        tracks = [{**record, "iscrowd": int(random.random() < 0.2)} for record in records[:3]]
        entries.append(([{**record, "score": round(random.random(), 1)} for record in records[3:]], tracks, length))
    return [*entries, ([], [], 2)]


def from_files():
    entries = videos()
    ground_truth = {
        "videos": [
            {"id": v + 1, "length": length, "height": SIDE, "width": SIDE} for v, (_, _, length) in enumerate(entries)
        ],
        "categories": [{"id": c, "name": str(c)} for c in (1, 2, 3)],
        "annotations": [{"id": 1, **track} for _, tracks, _ in entries for track in tracks],
    }
    return youtube_vis_ap(ground_truth, [prediction for predictions, _, _ in entries for prediction in predictions])


def streamed(order, **options):
    metric = YouTubeVISAP(**options)
    for index in order:
        predictions, tracks, length = videos()[index]
        metric.update(predictions, tracks, length=length)
    return metric


def values(metric):
    return {name: value.item() for name, value in metric.compute().items()}


def test_videos_one_by_one_give_the_numbers_of_the_files():
    expected = from_files()
    assert 0 < expected["AP"] < 1
    assert values(streamed(range(VIDEOS))) == pytest.approx(expected, abs=1e-12)
    assert values(streamed(range(VIDEOS), categories=[3, 1, 2])) == pytest.approx(expected, abs=1e-12)


def test_neither_their_order_nor_a_repeated_video_changes_the_numbers():
    assert values(streamed([4, 0, 2, 5, 1, 3, 0, 4])) == pytest.approx(from_files(), abs=1e-12)


def test_what_stays_does_not_grow_with_the_masks():
    def held(side):
        metric = YouTubeVISAP()
        checkers = encode(np.indices((side, side)).sum(0) % 2 == 0)
        record = {"video_id": 1, "category_id": 1, "segmentations": [checkers] * 5}
        metric.update([{**record, "score": 0.5}], [record], length=5)
        return len(pickle.dumps(metric))

    assert held(8) == held(200)


def test_a_reset_forgets_and_a_copy_through_pickle_keeps():
    metric = streamed(range(VIDEOS))
    copy = pickle.loads(pickle.dumps(metric))
    metric.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        assert set(values(metric).values()) == {-1}
    assert values(copy) == pytest.approx(from_files(), abs=1e-12)


def test_records_of_two_videos_other_lengths_sizes_and_categories_are_named():
    canvas = encode(np.ones((SIDE, SIDE), bool))
    track = {"video_id": 1, "category_id": 1, "segmentations": [canvas]}
    prediction = {**track, "score": 0.5}
    larger = [encode(np.ones((SIDE, SIDE + 1), bool))]
    for predictions, tracks, message in (
        ([{**prediction, "video_id": 2}], [track], r"predictions\[0\]: video_id: 2"),
        ([{**prediction, "segmentations": [canvas] * 2}], [track], "2 entries for a video of 1 frames"),
        ([{**prediction, "segmentations": larger}], [track], "a mask of 25x24 for frames of 24x24"),
        ([prediction], [track, {**track, "video_id": 2}], r"tracks\[1\]: of another video"),
        ([{**prediction, "category_id": 9}], [track], r"predictions\[0\]: category_id: 9"),
    ):
        with pytest.raises(DataError, match=message):
            YouTubeVISAP([1]).update(predictions, tracks, length=1)


def worker(rank, store, queue, shares):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    for share in shares:
        queue.put(values(streamed(share[rank])))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of PyTorch has no gloo")
def test_two_processes_give_the_numbers_of_one_even_if_one_sees_no_video(tmp_path):
    shares = [
        ((0, 2, 4), (1, 3, 5)),
        ((0, 2, 4), (1, 3, 0)),
        (range(VIDEOS), ()),
        ((), range(VIDEOS)),
        ((5,), range(5)),
    ]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=worker, args=(rank, tmp_path / "store", queue, shares)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        found = [queue.get(timeout=300) for _ in range(2 * len(shares))]
    finally:
        for process in processes:
            process.join(timeout=30)
    for numbers in found:
        assert numbers == pytest.approx(from_files(), abs=1e-12)
