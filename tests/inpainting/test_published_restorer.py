import numpy as np
import pytest
import torch
from small_videos import GeneratedVideo, MixingNetwork, flow_guided_network, plain_network, whole

from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.inpainting.published import PublishedRestorer
from lightvid.networks.generator import InpaintingOutput


def moving_hole(t):
    return (2 + t % 7, 3 + t % 11, 6, 8)


@torch.no_grad()
def published_script(network, frames, masks, references=-1, stride=5, ref_length=10):
    """The published procedure over a whole clip in memory, step by step as the papers' test scripts describe it."""
    length = len(frames)
    video = torch.from_numpy(frames).permute(0, 3, 1, 2).unsqueeze(0).float() / 255 * 2 - 1
    holes = torch.from_numpy(masks).view(1, length, 1, *frames.shape[1:3]).float()
    composed = [None] * length
    for f in range(0, length, stride):
        neighbours = list(range(max(0, f - stride), min(length - 1, f + stride) + 1))
        if references == -1:
            distant = [i for i in range(0, length, ref_length) if i not in neighbours]
        else:
            first = max(0, f - ref_length * (references // 2))
            last = min(length - 1, f + ref_length * (references // 2))
            distant = [i for i in range(first, last + 1, ref_length) if i not in neighbours][:references]
        chosen = neighbours + distant
        seen, hidden = video[:, chosen], holes[:, chosen]
        predictions = network(seen * (1 - hidden), hidden, local_frames=len(neighbours)).frames[0]
        for place, i in enumerate(neighbours):
            image = ((predictions[place] + 1) / 2).permute(1, 2, 0).numpy() * 255
            hole = masks[i][:, :, None]
            image = image.astype(np.uint8) * hole + frames[i] * (1 - hole)
            if composed[i] is None:
                composed[i] = image
            else:
                composed[i] = composed[i].astype(np.float32) * 0.5 + image.astype(np.float32) * 0.5
    return np.stack([image.astype(np.uint8) for image in composed])


@pytest.mark.parametrize("make", [plain_network, flow_guided_network, MixingNetwork])
@pytest.mark.parametrize(("length", "references"), [(1, None), (4, None), (33, None), (36, 2)])
def test_it_gives_what_the_published_procedure_gives(make, length, references):
    network, video = make(), GeneratedVideo(length, 24, 32, moving_hole)
    frames, masks = whole(video)
    expected = published_script(network, frames, masks, -1 if references is None else references)
    restored = np.stack(list(PublishedRestorer(network, references=references).restore(video)))
    assert np.abs(restored.astype(int) - expected).max() <= 1
    assert np.array_equal(restored[masks == 0], frames[masks == 0])
    assert np.abs(restored.astype(int) - frames)[masks > 0].mean() > 5  # something was predicted


class CallNumber(torch.nn.Module):
    """Predicts 21 times the number of the call, as a grey level, and almost one more."""

    calls = 0

    def forward(self, frames, masks, *, local_frames):
        self.calls += 1
        return InpaintingOutput(torch.full_like(frames, (self.calls * 21 + 0.9) / 127.5 - 1))


def test_later_windows_weigh_more_as_published():
    video = GeneratedVideo(33, hole=lambda t: (0, 0, 16, 24))
    levels = [int(frame[0, 0, 0]) for frame in PublishedRestorer(CallNumber()).restore(video)]
    assert levels[5] == 47  # 0.25 * 21 + 0.25 * 42 + 0.5 * 63 = 47.25, of the windows around 0, 5 and 10
    assert levels[7] == 52  # 0.5 * 42 + 0.5 * 63 = 52.5
    assert levels[31] == levels[32] == 147  # the last window alone


def test_the_blend_is_to_be_had_before_it_is_cut_to_whole_grey_levels():
    video = GeneratedVideo(33, hole=lambda t: (0, 0, 16, 24))
    levels = [float(frame[0, 0, 0]) for frame in PublishedRestorer(CallNumber()).blend(video)]
    assert (levels[5], levels[7], levels[32]) == (47.25, 52.5, 147)


@pytest.mark.parametrize("start", [1, 5, 17, 32, 33])
def test_a_later_start_gives_the_same_frames(start):
    restorer, video = PublishedRestorer(MixingNetwork()), GeneratedVideo(33, hole=moving_hole)
    everything = list(restorer.restore(video))
    assert np.array_equal(everything[start:], list(restorer.restore(video, start=start)))


def test_frames_come_as_soon_as_no_later_window_has_them_and_are_read_once():
    video = GeneratedVideo(300, hole=moving_hole)
    frames = PublishedRestorer(CallNumber()).restore(video)
    next(frames)
    assert max(index for index in video.frames_read if index % 10) <= 10  # no more than two windows and references
    list(frames)
    assert sorted(video.frames_read) == sorted(video.masks_read) == list(range(300))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_no_numbers_are_refused_with_their_frame(value):
    class Broken(torch.nn.Module):
        def forward(self, frames, masks, *, local_frames):
            predicted = torch.zeros_like(frames)
            predicted[:, 4, 0, 3, 3] = value
            return InpaintingOutput(predicted)

    video = GeneratedVideo(6, hole=moving_hole)
    with pytest.raises(CheckpointError, match=r"frame 4: what the network predicts is not finite \("):
        list(PublishedRestorer(Broken()).restore(video))


def test_mistakes_are_answered():
    with pytest.raises(ConfigurationError, match="neighbour_stride=0"):
        PublishedRestorer(plain_network(), neighbour_stride=0)
    with pytest.raises(ConfigurationError, match="references=-1"):
        PublishedRestorer(plain_network(), references=-1)
