"""Whole videos: the same tracks however the video is cut into windows."""

import threading
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from lightvid.annotations import rle
from lightvid.errors import ConfigurationError, DataError
from lightvid.networks.instance_output import InstanceOutput
from lightvid.profiling import peak_bytes
from lightvid.segmentation import VideoSegmenter
from lightvid.video.preparation import normalise

IDS = [10, 20, 30]


def segment(network, video, **options):
    options = {"frames": 12, "category_ids": IDS, "shortest": min(video.shape[1:3]), **options}
    return VideoSegmenter(network, **options).segment(lambda numbers: video[list(numbers)], *video.shape[:3])


def masks(track):
    """`(T, H, W)` of a result."""
    height, width = next(s["size"] for s in track["segmentations"] if s is not None)
    empty = np.zeros((height, width), np.uint8)
    return np.stack([empty if s is None else rle.decode(s, height, width, "mask") for s in track["segmentations"]])


def by_category(tracks):
    return {track["category_id"]: (pytest.approx(track["score"]), track["segmentations"]) for track in tracks}


def wander(t):
    return 4 + t % 24, 8 + t % 40 if t // 40 % 2 == 0 else 48 - t % 40


def test_a_long_video_gives_the_same_tracks_as_one_long_clip(colour_network, paint):
    frames = paint(100, {0: lambda t: (28, t // 2), 1: wander, 2: lambda t: (0, 60)})
    whole = segment(colour_network(shuffle=False), frames, frames=100)
    for overlap in (1, 4, 6, 9):
        network = colour_network()
        tracks = segment(network, frames, overlap=overlap)
        assert len(tracks) == 3
        assert by_category(tracks) == by_category(whole)
        assert len(network.calls) > 8
    assert sorted(track["category_id"] for track in whole) == IDS
    assert all(None not in track["segmentations"] for track in whole)


def test_masks_lie_where_the_objects_are(colour_network, paint):
    frames = paint(30, {0: lambda t: (16, 4 + t)})
    (track,) = segment(colour_network(), frames)
    truth = frames[..., 0] > 0
    found = masks(track) > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.75  # masks have a quarter of the resolution
    assert track["score"] == pytest.approx(torch.tensor(6.0).sigmoid().item())


def test_objects_that_cross_keep_their_identity(colour_network, paint):
    # The two are of one class, so only masks tell them apart.
    frames = paint(60, {0: lambda t: (16, t), 3: lambda t: (20, 60 - t)})
    tracks = segment(colour_network(), frames)
    assert len(tracks) == 2
    lefts = sorted((masks(track)[[0, -1]].any(1).argmax(1).tolist()) for track in tracks)
    assert np.abs(np.array(lefts) - [[0, 59], [60, 1]]).max() <= 3


def test_objects_that_enter_and_leave_have_masks_in_their_frames_alone(colour_network, paint):
    frames = paint(50, {0: lambda t: (4, 4) if t >= 21 else None, 1: lambda t: (28, 40) if t < 33 else None})
    late, leaving = segment(colour_network(), frames, overlap=5)
    late, leaving = (late, leaving) if late["category_id"] == 10 else (leaving, late)
    assert [s is not None for s in late["segmentations"]] == [t >= 21 for t in range(50)]
    assert [s is not None for s in leaving["segmentations"]] == [t < 33 for t in range(50)]


def test_an_object_hidden_for_longer_than_a_window_comes_back_as_another_track(colour_network, paint):
    frames = paint(60, {0: lambda t: (4, 4) if t < 15 or t >= 45 else None})
    tracks = segment(colour_network(), frames)
    assert sorted(sum(s is not None for s in track["segmentations"]) for track in tracks) == [15, 15]


def test_a_duplicate_query_makes_no_second_track(colour_network, paint):
    frames = paint(30, {0: lambda t: (8, t), 1: lambda t: (28, t)})
    assert len(segment(colour_network(queries=10), frames, further_classes=None)) == 2
    assert len(segment(colour_network(queries=10), frames, further_classes=None, duplicate_iou=None)) == 4


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_video_shorter_than_a_window(colour_network, paint, length):
    frames = paint(length, {0: lambda t: (8, 8 * t)})
    extended, as_it_is = colour_network(), colour_network()
    (track,) = segment(extended, frames)
    assert len(track["segmentations"]) == length
    assert segment(as_it_is, frames, any_length=True) == [track]
    assert extended.calls == [(1, 12, 3, 48, 80)]
    assert as_it_is.calls == [(1, length, 3, 48, 80)]


@pytest.mark.parametrize("size", [(47, 83), (33, 97), (50, 50)])
def test_masks_have_the_size_of_the_video_not_of_the_network(colour_network, paint, size):
    frames = paint(14, {0: lambda t: (8, 8 + t)}, height=size[0], width=size[1], side=24)
    (track,) = segment(colour_network(), frames, shortest=44)
    found, truth = masks(track) > 0, frames[..., 0] > 0
    assert found.shape == truth.shape
    assert (found & truth).sum() / (found | truth).sum() > 0.6


@pytest.mark.parametrize("prepare", [normalise, torch.Tensor.clone], ids=["floats", "bytes"])
def test_a_clip_in_memory_gives_what_the_video_gives(prepare, colour_network, paint):
    frames = paint(30, {0: lambda t: (8, t), 1: lambda t: (28, t)})
    segmenter = VideoSegmenter(colour_network(), frames=12, category_ids=IDS, shortest=48)
    tracks = segmenter.segment_clip(prepare(torch.from_numpy(frames)), (48, 80), video_id=7)
    assert {track.pop("video_id") for track in tracks} == {7}
    video = segment(colour_network(), frames)
    assert [{k: v for k, v in track.items() if k != "video_id"} for track in video] == tracks


def test_frames_are_read_once_in_order_and_one_window_ahead(paint, colour_network):
    frames, read, done = paint(40, {0: lambda t: (8, t)}), [], []
    segmenter = VideoSegmenter(colour_network(), frames=12, category_ids=IDS, shortest=48)

    def reader(numbers):
        assert threading.current_thread() is not threading.main_thread()
        assert len(numbers) <= 12
        read.extend(numbers)
        return frames[list(numbers)]

    segmenter.segment(reader, 40, 48, 80, progress=done.append)
    assert read == list(range(40))
    assert done == [12, 18, 24, 30, 36, 40]


def test_only_the_best_tracks_are_answered(colour_network, paint):
    frames = paint(20, {0: lambda t: (0, 0), 1: lambda t: (28, 20), 2: lambda t: (0, 60)})
    network = colour_network(queries=10)
    tracks = segment(network, frames, duplicate_iou=None, tracks_per_video=4)
    assert len(tracks) == 4
    assert [track["score"] for track in tracks] == sorted((track["score"] for track in tracks), reverse=True)
    assert len(segment(network, frames, duplicate_iou=None, score_threshold=0.99)) == 3


def test_a_video_without_objects_has_no_tracks(colour_network):
    assert segment(colour_network(), np.zeros((20, 48, 80, 3), np.uint8), duplicate_iou=None) == []


def test_an_unreadable_frame_ends_with_its_error(colour_network):
    def reader(numbers):
        raise DataError("clip/00012.jpg: corrupt frame")

    with pytest.raises(DataError, match="00012"):
        VideoSegmenter(colour_network(), frames=12, category_ids=IDS, shortest=48).segment(reader, 40, 48, 80)


def test_mistakes_are_answered(colour_network):
    with pytest.raises(ConfigurationError, match="share 0 to 11"):
        VideoSegmenter(colour_network(), frames=12, overlap=12, category_ids=IDS, shortest=48)
    with pytest.raises(DataError, match="no frames"):
        segment(colour_network(), np.zeros((0, 48, 80, 3), np.uint8), shortest=48)


class Published(nn.Module):
    """Two queries of a softmax network: class 1 in most frames and class 0 in the others; and "not visible"."""

    def forward(self, frames, padding_mask=None):
        T, h, w = frames.shape[1], -(-frames.shape[3] // 4), -(-frames.shape[4] // 4)
        labels = torch.tensor([[2, 0, 2, 1, 4, 2], [1, 0, 0, 0, 2, 0]]).T[:T]  # index 4 is "no object"
        logits = torch.nn.functional.one_hot(labels, 5)[None] * 3.0
        masks = torch.ones(1, T, 2, h, w)
        masks[0, 3] = -1
        return InstanceOutput(logits, torch.zeros(1, T, 2, 4), masks)


def test_softmax_networks_follow_the_published_protocol():
    frames = np.zeros((6, 32, 48, 3), np.uint8)
    (track,) = segment(Published(), frames, frames=6, classification="softmax", category_ids=[1, 2, 3])
    high = np.exp(3) / (np.exp(3) + 4)
    low = 1 / (np.exp(3) + 4)  # the frame of "no object" has the best of the others
    assert track["category_id"] == 2
    assert track["score"] == pytest.approx((5 * high + low) / 6, abs=1e-6)
    assert [s is None for s in track["segmentations"]] == [False, False, False, True, False, False]


def test_memory_does_not_grow_with_the_video(colour_network, paint):
    square = paint(1, {0: lambda t: (8, 8), 1: lambda t: (28, 40)})[0]
    alive = weakref.WeakSet()

    class Frames(np.ndarray):
        def __hash__(self):
            return id(self)

    def read(numbers):
        alive.add(frames := np.broadcast_to(square, (len(numbers), *square.shape)).copy().view(Frames))
        assert len(alive) <= 3
        return frames

    def peak(length):
        segmenter = VideoSegmenter(colour_network(), frames=12, category_ids=IDS, shortest=48)
        return peak_bytes(lambda: segmenter.segment(read, length, 48, 80))

    assert peak(300) < 1.1 * peak(60)


def test_bytes_in_memory_are_normalised_window_by_window(colour_network, paint):
    frames = torch.from_numpy(paint(200, {0: lambda t: (8, 8)}))

    def peak(length):
        segmenter = VideoSegmenter(colour_network(), frames=12, category_ids=IDS, shortest=48)
        return peak_bytes(lambda: segmenter.segment_clip(frames[:length], (48, 80)))

    assert peak(200) - peak(40) < 0.1 * 4 * frames[40:].numel()
