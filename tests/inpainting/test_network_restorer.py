import resource
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_videos import (
    Counting,
    FixedNetwork,
    GeneratedVideo,
    MixingNetwork,
    flow_guided_network,
    plain_network,
    whole,
)

from lightvid.errors import CheckpointError, ConfigurationError, DataError
from lightvid.inpainting.encoding import EncodedVideo
from lightvid.inpainting.network_restorer import NetworkRestorer
from lightvid.networks.generator import InpaintingOutput

STATM = Path("/proc/self/statm")


def moving_hole(t):
    return (2 + t % 7, 3 + t % 11, 6, 8)


@torch.no_grad()
def restored_window(network, frames, masks, local, references):
    """What a network says of a window, everything computed for it alone."""
    chosen = [*local, *references]
    holes = torch.from_numpy(masks[chosen]).float()[None, :, None]
    video = torch.from_numpy(frames[chosen]).permute(0, 3, 1, 2)[None].float() / 127.5 - 1
    predicted = network(video * (1 - holes), holes, local_frames=len(local)).frames[0, : len(local)]
    return ((predicted + 1) * 127.5).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("make", [plain_network, flow_guided_network, MixingNetwork])
def test_cached_parts_give_what_the_whole_network_gives(make):
    network, video = make(), GeneratedVideo(19, 24, 32, moving_hole)
    frames, masks = whole(video)
    restored = list(NetworkRestorer(network, window=11, max_references=2).restore(video))
    first = restored_window(network, frames, masks, range(11), [])
    second = restored_window(network, frames, masks, range(8, 19), [0])
    faded = {8: (3, 1), 9: (2, 2), 10: (1, 3)}
    for t, frame in enumerate(restored):
        before, after = faded.get(t, (1, 0) if t < 8 else (0, 1))
        expected = (before * first[min(t, 10)] + after * second[max(0, t - 8)]) / (before + after)
        hole = masks[t] > 0
        assert np.abs(frame[hole] - expected[hole]).max() < 0.51  # rounded once, at the end
        assert np.array_equal(frame[~hole], frames[t][~hole])


@pytest.mark.parametrize("length", [1, 7, 11, 40, 93])
def test_each_frame_is_read_and_encoded_once_each_flow_estimated_once_and_only_local_frames_decoded(length):
    network, video = Counting(flow_guided_network()), GeneratedVideo(length, 24, 32, moving_hole)
    assert len(list(NetworkRestorer(network, max_references=4).restore(video))) == length
    assert network.encoded == length
    assert network.flow_pairs == length - 1
    assert network.decoded == sum(local for _, local in network.restored)
    assert sorted(video.frames_read) == sorted(video.masks_read) == list(range(length))


@pytest.mark.parametrize("make", [plain_network, flow_guided_network, MixingNetwork])
def test_a_later_start_gives_the_same_frames_to_the_last_bit(make):
    video = GeneratedVideo(50, hole=lambda t: None if 20 <= t < 27 else moving_hole(t))
    restorer = NetworkRestorer(make(), max_references=3, encode_batch=4)
    everything = list(restorer.restore(video))
    for start in (1, 8, 13, 24, 33, 48, 49, 50):
        rest = list(restorer.restore(video, start=start))
        assert len(rest) == 50 - start
        assert all(np.array_equal(one, other) for one, other in zip(everything[start:], rest, strict=True))


def test_windows_without_a_hole_cost_nothing_and_frames_without_one_are_returned_as_they_are():
    video = GeneratedVideo(100, hole=lambda t: moving_hole(t) if 50 <= t < 53 else None)
    network = Counting(plain_network())
    restored = list(NetworkRestorer(network, max_references=4).restore(video))
    frames, _ = whole(video)
    assert len(network.restored) == 2  # the windows from 40 and from 48 on
    changed = [t for t in range(100) if not np.array_equal(restored[t], frames[t])]
    assert changed == [50, 51, 52]


def test_references_are_limited_however_long_the_video_is():
    network = Counting(plain_network())
    list(NetworkRestorer(network, max_references=5).restore(GeneratedVideo(150)))
    assert {total - local for total, local in network.restored} == {5}


class FilledVideo:
    """All but the first column of the holes is known."""

    def __init__(self, video):
        self.video = video

    def __len__(self):
        return len(self.video)

    def size(self):
        return self.video.size()

    def read(self, indices):
        frames = self.video.read(indices)
        frames[self.video.read_masks(indices) > 0] = 200
        return frames

    def read_masks(self, indices):
        masks = self.video.read_masks(indices)
        masks[:, :, 5:] = 0
        return masks


def test_propagated_pixels_are_kept_and_the_network_fills_the_rest():
    video = GeneratedVideo(12, hole=lambda t: (4, 4, 6, 8))
    for frame in NetworkRestorer(plain_network(), propagate_first=FilledVideo).restore(video):
        assert (frame[4:10, 5:12] == 200).all()
        assert (frame[4:10, 4] != 200).any()


def test_the_next_window_is_read_in_another_thread():
    names = set()

    class Watched(GeneratedVideo):
        def read(self, indices):
            names.add(threading.current_thread().name)
            return super().read(indices)

    list(NetworkRestorer(plain_network()).restore(Watched(30)))
    assert threading.main_thread().name not in names


def test_an_unreadable_frame_ends_with_its_error():
    class Broken(GeneratedVideo):
        def read(self, indices):
            if 30 in indices:
                raise DataError("clip/00030.jpg: corrupt frame")
            return super().read(indices)

    restored = NetworkRestorer(plain_network(), max_references=0).restore(Broken(60))
    assert next(restored) is not None
    with pytest.raises(DataError, match="00030"):
        list(restored)


def test_autocast_runs_the_network_in_the_given_precision():
    network, video = plain_network(), GeneratedVideo(12)
    full = np.stack(list(NetworkRestorer(network).restore(video))).astype(int)
    half = np.stack(list(NetworkRestorer(network, precision=torch.bfloat16).restore(video)))
    assert 0 < np.abs(full - half).mean() < 3


@pytest.mark.parametrize(
    ("precision", "way_out"), [(None, "weights are unusable"), (torch.float16, r"in torch\.float16 \(take fp32\)")]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_no_numbers_are_refused_with_their_frame(precision, way_out, value):
    class Broken(FixedNetwork):
        def restore(self, encoded, *, local_frames, flows, decode):
            predicted = torch.zeros(1, decode, 3, *encoded.size)
            predicted[:, 4, 0, 3, 3] = value
            return InpaintingOutput(predicted)

    frames = NetworkRestorer(Broken(), precision=precision).restore(GeneratedVideo(6, hole=moving_hole))
    with pytest.raises(CheckpointError, match=f"frame 4: what the network predicts is not finite.*{way_out}"):
        list(frames)


@pytest.mark.skipif(not STATM.exists(), reason="the memory of a process is read from /proc")
def test_memory_does_not_grow_over_ten_thousand_frames(monkeypatch):
    cached, resident = [], []
    keep = EncodedVideo.keep

    def watched(self, needed):
        cached.append(len(self.frames))
        keep(self, needed)

    monkeypatch.setattr(EncodedVideo, "keep", watched)
    video = GeneratedVideo(10_000, 24, 32, remember=False)
    for index, _ in enumerate(NetworkRestorer(FixedNetwork(), max_references=6).restore(video)):
        if index in (1_000, 9_990):
            resident.append(int(STATM.read_text().split()[1]) * resource.getpagesize())
    assert max(cached) <= 16 + 6 + 5 + 2
    assert resident[1] - resident[0] < 10e6  # the frames are 28 MB, and what is encoded 4 times as much


def test_mistakes_are_answered():
    with pytest.raises(ConfigurationError, match="stride=12: windows of 11"):
        NetworkRestorer(plain_network(), window=11, stride=12)
    with pytest.raises(ConfigurationError, match="blend 'linear': choose one of triangular, uniform"):
        NetworkRestorer(plain_network(), blend="linear")
    with pytest.raises(ConfigurationError, match="max_references=-1"):
        NetworkRestorer(plain_network(), max_references=-1)
