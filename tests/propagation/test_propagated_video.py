"""A video after propagation, as a network that fills the rest reads it."""

import numpy as np
from moving_scenes import box_mask, panned, texture

from lightvid.inpainting.video import ClipInMemory
from lightvid.propagation import PropagatedVideo

H, W = 64, 96


def half_seen() -> tuple[np.ndarray, np.ndarray]:
    """A still scene with a hole whose left half the first frame shows."""
    truth = np.stack([texture(H, W)] * 6)
    masks = box_mask(6, H, W, slice(20, 44), slice(30, 62))
    masks[0, :, :46] = 0
    return truth, masks


def test_what_another_frame_shows_is_filled_and_the_rest_remains_a_hole():
    truth, masks = half_seen()
    video = PropagatedVideo(ClipInMemory(truth * (masks == 0)[..., None], masks))
    frames, remaining = video.read(range(6)), video.read_masks(range(6))
    assert not remaining[:, :, :44].any()  # beside what is hidden no colour is taken
    assert remaining[:, 20:44, 46:62].all()
    assert (frames == truth)[remaining == 0].all()


def test_what_remains_hidden_is_as_in_the_video():
    truth, masks = half_seen()
    marked = np.where(masks[..., None] > 0, 7, truth).astype(np.uint8)
    video = PropagatedVideo(ClipInMemory(marked, masks))
    assert (video.read([3])[0][video.read_masks([3])[0] > 0] == 7).all()


def test_frames_are_the_same_in_any_order():
    frames = panned(30, 40, 56, speed=2)
    masks = box_mask(30, 40, 56, slice(12, 26), slice(20, 34))
    in_order = PropagatedVideo(ClipInMemory(frames, masks), reach=3).read(range(30))
    video = PropagatedVideo(ClipInMemory(frames, masks), reach=3)
    order = [29, 0, 15, 14, 0]
    assert (video.read(order) == in_order[order]).all()
    assert len(video) == 30
    assert video.size() == (40, 56)


def test_only_frames_within_reach_are_read():
    class Recorder(ClipInMemory):
        def read(self, indices):
            seen.update(indices)
            return super().read(indices)

    seen: set[int] = set()
    frames = panned(100, 40, 56, speed=1)
    masks = box_mask(100, 40, 56, slice(12, 26), slice(20, 34))
    PropagatedVideo(Recorder(frames, masks), reach=4).read([50])
    assert seen <= set(range(40, 64))
