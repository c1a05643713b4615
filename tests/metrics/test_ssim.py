"""SSIM against scikit-image, in both windows."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity as reference

from lightvid.errors import ConfigurationError
from lightvid.metrics import structural_similarity

OPTIONS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    "uniform65": {"win_size": 65},
}


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.repeat(rng.integers(0, 256, (20, 25, 3)), 4, axis=0), 4, axis=1).astype(np.uint8)
    return np.clip(truth + rng.normal(0, 25, truth.shape), 0, 255), truth


@pytest.mark.parametrize("window", OPTIONS)
@pytest.mark.parametrize("whole_numbers", [False, True])
def test_it_is_what_scikit_image_gives(frames, window, whole_numbers):
    restored, truth = frames
    if whole_numbers:
        restored = restored.astype(np.uint8)
    expected = reference(restored, truth, data_range=255, channel_axis=2, **OPTIONS[window])
    assert structural_similarity(restored, truth, window=window) == pytest.approx(expected, abs=1e-6)


def test_frames_as_small_as_the_window_have_one_value_and_smaller_ones_are_refused():
    frame = np.arange(65 * 65 * 3, dtype=np.float64).reshape(65, 65, 3) % 256
    assert structural_similarity(frame, frame, window="uniform65") == pytest.approx(1)
    with pytest.raises(ConfigurationError, match="at least 65x65 pixels, got 65x64: use gaussian"):
        structural_similarity(frame[1:], frame[1:], window="uniform65")
    with pytest.raises(ConfigurationError, match="at least 11x11 pixels, got 10x65"):
        structural_similarity(frame[:, :10], frame[:, :10])
