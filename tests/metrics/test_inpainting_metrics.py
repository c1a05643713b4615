"""PSNR and SSIM against scikit-image, and the baselines on cases that can be worked out by hand."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lightvid.errors import ConfigurationError
from lightvid.metrics import FramePSNR, InpaintingMetrics, mean_colour, nearest_visible, telea


@pytest.fixture
def clips() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 3, 3, 72, 80, generator=generator)
    restored = (truth + 0.1 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)
    masks = torch.zeros(1, 3, 1, 72, 80)
    masks[:, :, :, 20:40, 30:60] = 1
    return restored, truth, masks


def test_psnr_is_the_mean_over_frames_that_scikit_image_gives(clips):
    restored, truth, masks = clips
    metrics = InpaintingMetrics()
    metrics.update(restored, truth, masks)
    expected = np.mean(
        [
            peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1)
            for x, y in zip(truth[0], restored[0], strict=True)
        ]
    )
    assert metrics.compute()["psnr"].item() == pytest.approx(expected, abs=1e-4)


def test_the_uniform_window_gives_the_papers_ssim(clips):
    restored, truth, masks = clips
    metrics = InpaintingMetrics(ssim_window="uniform65")
    metrics.update(restored, truth, masks)
    options = {"data_range": 1.0, "win_size": 65, "channel_axis": 0}
    expected = np.mean(
        [structural_similarity(x.numpy(), y.numpy(), **options) for x, y in zip(truth[0], restored[0], strict=True)]
    )
    assert metrics.compute()["ssim"].item() == pytest.approx(expected, abs=2e-4)


def test_mixed_precision_does_not_touch_the_metrics(clips):
    full, mixed = InpaintingMetrics(), InpaintingMetrics()
    full.update(*clips)
    with torch.autocast("cpu", torch.bfloat16):
        mixed.update(*clips)
    assert full.compute() == mixed.compute()


def test_hole_psnr_sees_only_the_hole(clips):
    _, truth, masks = clips
    restored = torch.where(masks > 0, truth + 0.1, 1 - truth)
    metric = FramePSNR()
    metric.update(restored[0], truth[0], masks[0])
    assert metric.compute().item() == pytest.approx(20.0, abs=1e-3)


def test_frames_without_a_hole_do_not_count_and_exact_frames_are_finite(clips):
    _, truth, masks = clips
    metric = FramePSNR()
    masks = masks.clone()
    masks[:, 0] = 0
    metric.update(truth[0], truth[0], masks[0])
    assert metric.count == 2
    assert metric.compute() == 100


def test_frames_smaller_than_the_papers_window_are_refused():
    metrics = InpaintingMetrics(ssim_window="uniform65")
    with pytest.raises(ConfigurationError, match="64 x 64"):
        metrics.update(torch.rand(1, 1, 3, 64, 64), torch.rand(1, 1, 3, 64, 64), torch.ones(1, 1, 1, 64, 64))


def test_mean_colour_takes_the_visible_pixels_of_its_own_frame():
    frames = np.zeros((2, 2, 2, 3), np.uint8)
    frames[0, 0], frames[1, 0] = 100, 200
    masks = np.zeros((2, 2, 2), np.uint8)
    masks[:, 1] = 1
    filled = mean_colour(frames, masks)
    assert (filled[0, 1] == 100).all()
    assert (filled[1, 1] == 200).all()
    assert (filled[:, 0] == frames[:, 0]).all()


def test_nearest_visible_copies_from_the_nearest_frame_and_falls_back_to_the_mean():
    frames = np.stack([np.full((1, 2, 3), 10 * (t + 1), np.uint8) for t in range(4)])
    masks = np.zeros((4, 1, 2), np.uint8)
    masks[:, 0, 0] = [1, 1, 0, 0]
    filled = nearest_visible(frames, masks)
    assert filled[0, 0, 0, 0] == 30
    assert filled[1, 0, 0, 0] == 30
    masks[:, 0, 0] = 1
    assert nearest_visible(frames, masks)[1, 0, 0, 0] == 20


def test_telea_leaves_visible_pixels_alone_and_continues_a_ramp():
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (40, 1, 3))[None]
    masks = np.zeros((1, 40, 60), np.uint8)
    masks[:, 15:25, 20:30] = 1
    filled = telea(ramp, masks)
    assert (filled[masks == 0] == ramp[masks == 0]).all()
    assert np.abs(filled.astype(int) - ramp)[masks > 0].mean() < 12
