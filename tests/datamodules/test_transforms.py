"""Augmentation is one draw for a whole clip, and a function of its seed."""

import cv2
import numpy as np
import pytest
from PIL import Image

from lightvid.datamodules.transforms import ClipTransform, resize_frames

RNG = np.random.default_rng(0)
FRAME = RNG.integers(0, 255, (1, 20, 30, 3), np.uint8)
CLIP = np.repeat(FRAME, 4, axis=0)
MASKS = np.zeros((4, 20, 30), np.uint8)
MASKS[:, 5:9, :6] = 1


def test_all_frames_of_a_clip_are_changed_alike_and_the_masks_with_them():
    transform = ClipTransform(20, 30, horizontal_flip=0.5, colour_jitter=0.4)
    flips = 0
    for seed in range(20):
        frames, masks = transform(CLIP, MASKS, seed)
        assert (frames == frames[0]).all() and (masks == masks[0]).all()
        assert not (frames == CLIP).all()
        assert frames.dtype == masks.dtype == np.uint8
        flips += bool(masks[0, 6, -1])
    assert 3 < flips < 17


def test_the_same_seed_is_the_same_draw_also_in_another_object():
    first, second = (ClipTransform(20, 30, horizontal_flip=0.5, colour_jitter=0.4) for _ in range(2))
    second(CLIP, None, 99)
    results = [first(CLIP, None, seed)[0] for seed in range(6)]
    for seed in reversed(range(6)):
        np.testing.assert_array_equal(second(CLIP, None, seed)[0], results[seed])
    assert len({result.tobytes() for result in results}) > 3


def test_flipping_mirrors_frames_and_masks_together():
    frames, masks = ClipTransform(20, 30, horizontal_flip=1.0)(CLIP, MASKS, 0)
    np.testing.assert_array_equal(frames, CLIP[:, :, ::-1])
    np.testing.assert_array_equal(masks, MASKS[:, :, ::-1])


@pytest.mark.parametrize("size", [(10, 15), (40, 60), (13, 37)])
def test_resizing_keeps_the_picture_in_place_and_masks_binary(size):
    ramp = np.tile(np.linspace(0, 200, 30), (2, 20, 1))[..., None].repeat(3, axis=3).astype(np.uint8)
    frames, masks = ClipTransform(*size)(ramp, MASKS[:2], 0)
    assert frames.shape == (2, *size, 3) and masks.shape == (2, *size)
    assert (np.diff(frames[0, 0, :, 0].astype(int)) >= -1).all()
    assert set(np.unique(masks)) == {0, 1}
    assert masks.mean() == pytest.approx(MASKS.mean(), abs=0.02)


def test_masks_lie_on_their_frames():
    stripe = np.zeros((1, 30, 30), np.uint8)
    stripe[:, :, 10:20] = 1  # the middle third
    frames, masks = ClipTransform(10, 10)(stripe[..., None].repeat(3, axis=3) * 255, stripe, 0)
    np.testing.assert_array_equal(masks, frames[..., 0] > 127)


def test_resizing_is_pillows_bicubic_as_in_the_published_recipes():
    smooth = cv2.GaussianBlur(RNG.integers(0, 255, (90, 160, 3), np.uint8), (0, 0), 2)
    ours = resize_frames(smooth[None], 48, 80)[0].astype(int)
    pillow = np.asarray(Image.fromarray(smooth).resize((80, 48), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(ours - pillow).max() <= 2
    assert np.abs(ours - pillow).mean() < 0.05
