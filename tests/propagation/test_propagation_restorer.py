"""What a video without its holes looks like, where other frames show what they hide."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from moving_scenes import box_mask, panned, sliding_mask, texture

from lightvid.errors import ConfigurationError
from lightvid.inpainting.video import ClipInMemory
from lightvid.metrics.baselines import nearest_visible, telea
from lightvid.propagation import PropagationRestorer, footage
from lightvid.video import open_video

DAVIS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "davis" / "JPEGImages" / "480p"
H, W = 64, 96


def restore(frames: np.ndarray, masks: np.ndarray, *, reach: int = 10, start: int = 0) -> np.ndarray:
    return np.stack(list(PropagationRestorer(reach=reach).restore(ClipInMemory(frames, masks), start=start)))


def error(restored: np.ndarray, truth: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return np.abs(restored.astype(int) - truth)[masks > 0]


def test_what_a_hole_hides_from_a_moving_camera_is_recovered():
    truth = panned(10, H, W, speed=4)
    masks = box_mask(10, H, W, slice(24, 44), slice(36, 56))
    wrong = error(restore(truth * (masks == 0)[..., None], masks), truth, masks)
    assert wrong.mean() < 1
    assert np.percentile(wrong, 99) <= 2


def test_what_a_hole_hides_from_a_standing_camera_is_copied():
    truth = np.stack([texture(H, W)] * 8)
    masks = sliding_mask(8, H, W, side=20, speed=8)
    assert (restore(truth * (masks == 0)[..., None], masks) == truth).all()


def test_a_change_of_brightness_does_not_show():
    brighter = 3 * np.arange(8)[:, None, None, None]
    truth = np.stack([texture(H, W) // 2 + 40] * 8) + brighter.astype(np.uint8)
    masks = sliding_mask(8, H, W, side=20, speed=8)
    assert error(restore(truth, masks), truth, masks).max() <= 2


def test_the_background_is_not_taken_from_what_passes_in_front_of_it():
    background, passer = texture(H, 160), texture(24, 24, seed=1)
    truth = np.stack([background] * 10)
    frames = truth.copy()
    for t in range(10):
        frames[t, 20:44, 12 * t : 12 * t + 24] = passer
    masks = np.zeros((10, H, 160), np.uint8)
    masks[6:, 22:42, 50:70] = 1  # in the last frames that show this place the passer is there
    wrong = error(restore(frames, masks), truth, masks)
    assert np.median(wrong) <= 2
    assert wrong.mean() < 5 < error(nearest_visible(frames, masks), truth, masks).mean()


def test_what_no_frame_shows_continues_the_surroundings_smoothly():
    ramp = np.broadcast_to(np.linspace(20, 220, W).round()[None, :, None], (H, W, 3)).astype(np.uint8)
    truth = np.stack([ramp] * 5)
    masks = box_mask(5, H, W, slice(20, 44), slice(30, 66))
    assert error(restore(truth * (masks == 0)[..., None], masks), truth, masks).max() <= 3


def test_a_frame_that_is_hidden_as_a_whole_is_filled_from_its_neighbours():
    truth = np.stack([texture(H, W)] * 5)
    masks = np.zeros((5, H, W), np.uint8)
    masks[2] = 1
    assert (restore(truth * (masks == 0)[..., None], masks) == truth).all()


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 40, 48), (3, 40, 48), (2, 3, 5), (2, 1, 1)])
def test_nothing_known_at_all_is_no_error(frames, height, width):
    nothing = np.zeros((frames, height, width, 3), np.uint8)
    assert restore(nothing, np.ones((frames, height, width), np.uint8)).shape == nothing.shape


def test_one_frame_is_filled_from_its_border():
    frame = np.full((1, 32, 40, 3), 90, np.uint8)
    masks = box_mask(1, 32, 40, slice(10, 20), slice(10, 20))
    assert (restore(frame * (masks == 0)[..., None], masks) == 90).all()


def test_frames_without_holes_stay_as_they_are():
    frames = panned(4, H, W, speed=3)
    assert (restore(frames, np.zeros((4, H, W), np.uint8)) == frames).all()


def test_known_pixels_stay_as_they_are_and_hidden_ones_are_not_looked_at():
    frames = panned(8, H, W, speed=3)
    masks = box_mask(8, H, W, slice(24, 44), slice(36, 56))
    noise = np.random.default_rng(0).integers(0, 256, frames.shape, dtype=np.uint8)
    one, other = restore(frames, masks), restore(np.where(masks[..., None] > 0, noise, frames), masks)
    assert (one == other).all()
    assert (one == frames)[masks == 0].all()


@pytest.mark.parametrize("start", [1, 9, 19])
def test_frames_are_the_same_wherever_the_restoration_starts(start):
    frames = panned(20, 40, 56, speed=2)
    masks = sliding_mask(20, 40, 56, side=12, speed=1)
    assert (restore(frames, masks, reach=3, start=start) == restore(frames, masks, reach=3)[start:]).all()


def test_large_frames_are_filled_at_their_own_size(monkeypatch):
    monkeypatch.setattr(footage, "WORKING_SIDE", 50)
    truth = panned(10, 99, 141, speed=6)
    masks = box_mask(10, 99, 141, slice(40, 60), slice(50, 70))
    restored = restore(truth * (masks == 0)[..., None], masks)
    assert (restored == truth)[masks == 0].all()
    assert error(restored, truth, masks).mean() < 5


def test_no_reach_is_refused_in_one_line():
    with pytest.raises(ConfigurationError, match="reach=0"):
        PropagationRestorer(reach=0)


class LongPan:
    """A `MaskedVideo` of 2,000 frames that are made when read, of which every 40th has a hole."""

    world = texture(24, 100)

    def __len__(self) -> int:
        return 2000

    def size(self) -> tuple[int, int]:
        return 24, 32

    def read(self, indices):
        return np.stack([self.world[:, t % 68 : t % 68 + 32] for t in indices])

    def read_masks(self, indices):
        masks = np.zeros((len(indices), 24, 32), np.uint8)
        masks[[t % 40 == 0 for t in indices], 8:16, 12:20] = 1
        return masks


def test_memory_does_not_grow_with_the_video():
    tracemalloc.start()
    for index, _ in enumerate(PropagationRestorer(reach=2).restore(LongPan())):
        if index == 100:
            tracemalloc.reset_peak()
        if index == 200:
            early = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
    late = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert late < 1.2 * early


def test_a_real_clip_is_nearer_to_the_truth_than_without_motion():
    if not DAVIS.is_dir():
        pytest.skip("no copy of DAVIS in ../shared/data")
    truth = open_video(DAVIS / "bmx-trees").read(range(8))
    masks = box_mask(8, 240, 432, slice(90, 150), slice(60, 130))
    hidden = truth * (masks == 0)[..., None]
    ours = np.square(error(restore(hidden, masks), truth, masks)).mean()
    for baseline in (telea, nearest_visible):
        assert ours < 0.4 * np.square(error(baseline(hidden, masks), truth, masks)).mean()
