"""The numbers of videos, chunk by chunk, and their averages."""

import math
import tracemalloc

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lightvid.errors import ConfigurationError
from lightvid.metrics import FlowEstimator, VideoQuality, average

STILL = FlowEstimator("still", lambda first, second: np.zeros((*first.shape[:2], 2), np.float32))


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (5, 70, 80, 3)).astype(np.uint8)
    masks = np.zeros((5, 70, 80), np.uint8)
    masks[1:, 20:40, 30:60] = 255
    return np.clip(truth + rng.normal(0, 9, truth.shape), 0, 255).astype(np.float32), truth, masks


def measured(restored, truth, masks, **options):
    quality = VideoQuality(**options)
    quality.update(restored, truth, masks)
    return quality


def test_psnr_is_scikit_images_mean_over_frames_of_broken_numbers_too(clip):
    restored, truth, _ = clip
    expected = [
        peak_signal_noise_ratio(y.astype(float), x.astype(float), data_range=255)
        for x, y in zip(restored, truth, strict=True)
    ]
    assert measured(*clip).compute()["psnr"] == pytest.approx(np.mean(expected), abs=1e-4)


def test_hole_psnr_sees_the_holes_of_frames_that_have_some(clip):
    _, truth, masks = clip
    truth = np.clip(truth, 0, 200)
    restored = np.where(masks[..., None] > 0, truth + 10.0, 0)
    quality = measured(restored, truth, masks)
    assert quality.compute()["hole_psnr"] == pytest.approx(20 * math.log10(25.5))
    assert quality.means()["hole_psnr"].count == 4
    assert math.isnan(measured(restored, truth, 0 * masks).compute()["hole_psnr"])


def test_exact_frames_are_100_db_and_alike(clip):
    _, truth, masks = clip
    assert measured(truth, truth, masks).compute() == {"psnr": 100, "ssim": pytest.approx(1), "hole_psnr": 100}


def test_chunks_give_what_the_whole_gives(clip):
    whole, parts = measured(*clip, flow=STILL), VideoQuality(flow=STILL)
    for start in range(0, 5, 2):
        parts.update(*(array[start : start + 2] for array in clip))
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12)
    assert set(whole.compute()) == {"psnr", "ssim", "hole_psnr", "e_warp_still"}


def test_a_long_video_takes_no_more_memory_than_a_short_one(clip):
    def peak(chunks):
        quality = VideoQuality(flow=STILL)
        tracemalloc.start()
        for _ in range(chunks):
            quality.update(*(array[:2].copy() for array in clip))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    assert peak(40) < 1.1 * peak(4)


def test_means_are_over_frames_as_in_the_papers_or_over_videos_and_those_of_e_warp_always_over_videos(clip):
    restored, truth, masks = clip
    long = measured(truth + 2.0, truth, masks, flow=STILL)
    short = measured(restored[:2], truth[:2], masks[:2], flow=STILL)
    videos = [long.means(), short.means()]
    first, second = long.compute(), short.compute()
    by_frames, by_videos = average(videos, "frames"), average(videos, "videos")
    assert by_frames["psnr"] == pytest.approx((5 * first["psnr"] + 2 * second["psnr"]) / 7)
    assert by_frames["hole_psnr"] == pytest.approx((4 * first["hole_psnr"] + second["hole_psnr"]) / 5)
    assert by_videos["psnr"] == pytest.approx((first["psnr"] + second["psnr"]) / 2)
    for means in (by_frames, by_videos):
        assert means["e_warp_still"] == pytest.approx((first["e_warp_still"] + second["e_warp_still"]) / 2)


def test_a_video_without_a_number_does_not_count_for_it(clip):
    restored, truth, masks = clip
    video, frame = measured(*clip, flow=STILL), measured(restored[:1], truth[:1], masks[:1], flow=STILL)
    assert average([video.means(), frame.means()])["e_warp_still"] == video.compute()["e_warp_still"]
    assert math.isnan(average([frame.means()])["e_warp_still"])


def test_small_frames_and_unequal_ones_are_refused(clip):
    restored, truth, masks = clip
    with pytest.raises(ConfigurationError, match="got 80x60: use gaussian"):
        measured(restored[:, 10:], truth[:, 10:], masks[:, 10:])
    measured(restored[:, 10:], truth[:, 10:], masks[:, 10:], ssim_window="gaussian")
    with pytest.raises(ValueError, match="expected restored and truth"):
        measured(restored[:4], truth, masks)
