"""E_warp on videos whose value can be worked out by hand."""

import math

import numpy as np
import pytest
import torch

from lightvid.metrics import FlowEstimator, WarpError, flow_estimator
from lightvid.metrics.warp_error import visible_in_both

HEIGHT, WIDTH, SHIFT = 20, 30, 3


def moving(length):
    """A texture that moves SHIFT pixels to the right in every frame."""
    texture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH + SHIFT * length, 3)).astype(np.uint8)
    return np.stack([texture[:, SHIFT * (length - t) :][:, :WIDTH] for t in range(length)])


def known_flow(first, second):
    """Of `moving`: whatever of the second frame is the first, moved."""
    to_the_right = (second[:, SHIFT:] == first[:, :-SHIFT]).all()
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = SHIFT if to_the_right else -SHIFT
    return flow


KNOWN = FlowEstimator("known", known_flow)
STILL = FlowEstimator("still", lambda first, second: np.zeros((*first.shape[:2], 2), np.float32))


@pytest.mark.parametrize("factor", [1, 0.5])
def test_a_translating_video_does_not_flicker(factor):
    video = moving(4)
    error = WarpError(KNOWN, occlusion="strict")
    error.update(video * factor, video)
    assert error.compute() == pytest.approx(0, abs=1e-8)
    assert error.pairs == 3


def test_pixels_that_leave_the_frame_count_against_its_border_in_the_papers_numbers():
    video = moving(2)
    error = WarpError(KNOWN)
    error.update(video, video)
    leaving = (video[1, :, -1:] / 255.0 - video[0, :, -SHIFT:] / 255.0) ** 2
    assert error.compute() == pytest.approx(leaving.sum() / (HEIGHT * WIDTH * 3), rel=1e-4)


def test_a_flickering_region_counts_by_its_squared_amplitude_and_share():
    truth = np.full((4, HEIGHT, WIDTH, 3), 100, np.uint8)
    restored = truth.astype(np.float32)
    restored[1::2, :10, :, 0] += 51.0  # a fifth of the range, in a half of the pixels of one of three colours
    error = WarpError(STILL)
    error.update(restored, truth)
    assert error.compute() == pytest.approx(0.2**2 / 2 / 3, rel=1e-5)


def test_chunks_of_any_length_give_the_same():
    video, rng = moving(7), np.random.default_rng(1)
    restored = rng.integers(0, 256, video.shape).astype(np.uint8)
    whole, parts = WarpError(KNOWN), WarpError(KNOWN)
    whole.update(restored, video)
    for start, end in ((0, 1), (1, 4), (4, 6), (6, 7)):
        buffer = restored[start:end].copy()
        parts.update(buffer, video[start:end])
        buffer[:] = 0  # a caller may use its memory again
    assert parts.compute() == whole.compute()
    assert parts.pairs == 6


def test_what_the_flow_does_not_come_back_to_and_the_borders_of_motion_are_left_out():
    forward, backward = torch.zeros(1, 2, 8, 16), torch.zeros(1, 2, 8, 16)
    forward[:, 0, :, 4:8] = 4.0  # onto columns 8 to 11, which say that they have not moved
    visible = visible_in_both(forward, backward)
    assert not visible[..., 4:8].any()
    assert not visible[..., 3].any()  # the difference to the next column is not 0
    assert visible[..., :3].all()
    assert visible[..., 8:].all()
    backward[:, 0, :, 8:12] = -4.0
    assert visible_in_both(forward, backward)[..., 4:7].all()


def test_one_frame_has_no_error_and_a_pair_without_pixels_is_0_in_the_papers_numbers_alone():
    away = FlowEstimator("away", lambda first, second: np.full((*first.shape[:2], 2), 99, np.float32))
    video = moving(2)
    for occlusion, expected in (("published", 0.0), ("strict", math.nan)):
        error = WarpError(away, occlusion=occlusion)
        error.update(video[:1], video[:1])
        assert math.isnan(error.compute())
        error.update(video[1:], video[1:])
        assert error.compute() == pytest.approx(expected, nan_ok=True)


def test_flow_without_weights_follows_a_smooth_translation():
    rows, columns = np.mgrid[:64, :96].astype(np.float32)
    frames = [np.sin((columns - 2 * t) / 5) * np.cos(rows / 7) * 100 + 128 for t in range(3)]
    video = np.stack([np.repeat(frame[..., None], 3, axis=2) for frame in frames]).astype(np.uint8)
    true, still = WarpError(flow_estimator("dis"), occlusion="strict"), WarpError(STILL)
    for error in (true, still):
        error.update(video, video)
    assert true.compute() < 0.02 * still.compute()
