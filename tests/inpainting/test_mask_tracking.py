"""Masks that were painted once follow what they cover."""

import cv2
import numpy as np
import pytest

from lightvid.inpainting.mask_tracking import track_masks

LENGTH, HEIGHT, WIDTH, SIDE = 6, 96, 160, 40


def texture(seed, height, width):
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    return np.clip((cv2.GaussianBlur(noise, (0, 0), 2) - 128) * 6 + 128, 0, 255).astype(np.uint8)


BACKGROUND = texture(0, HEIGHT, WIDTH) // np.array((3, 1, 1), np.uint8)
OBJECT = texture(1, SIDE, SIDE) // 3 + np.array((150, 0, 0), np.uint8)


def place(index):
    """Row and column of the object's corner: 2 pixels to the right and half a pixel down each frame."""
    return 10 + index // 2, 10 + 2 * index


def mask_of(index):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    row, column = place(index)
    mask[row : row + SIDE, column : column + SIDE] = 1
    return mask


def read(indices):
    frames = np.repeat(BACKGROUND[None], len(indices), axis=0)
    for frame, index in zip(frames, indices, strict=True):
        frame[mask_of(index) > 0] = OBJECT.reshape(-1, 3)
    return frames


def covered(mask, truth):
    """Part of the object that a mask covers."""
    return (mask & truth).sum() / truth.sum()


@pytest.mark.parametrize("painted", [[0], [LENGTH - 1], [2], [0, LENGTH - 1]])
def test_a_mask_follows_its_object_forwards_and_backwards(painted):
    masks = dict(track_masks(read, LENGTH, {index: mask_of(index) for index in painted}))
    assert sorted(masks) == list(range(LENGTH))
    assert min(covered(masks[index], mask_of(index)) for index in masks) > 0.99
    assert max(masks[index].sum() for index in masks) < 1.6 * SIDE**2  # no trail behind it


def test_the_margin_of_a_loose_mask_does_not_stay_behind():
    painted = {0: cv2.dilate(mask_of(0), np.ones((13, 13), np.uint8))}
    tight, whole = (dict(track_masks(read, LENGTH, painted, loose=loose))[LENGTH - 1] for loose in (True, False))
    assert covered(tight, mask_of(LENGTH - 1)) > 0.99
    assert np.count_nonzero(tight) < 0.8 * np.count_nonzero(whole)


def test_a_loose_mask_of_the_whole_frame_stays_whole():
    everything = np.ones((HEIGHT, WIDTH), np.uint8)
    assert dict(track_masks(read, 2, {0: everything}, loose=True))[1].mean() > 0.95


def test_growth_is_in_pixels_of_the_video():
    close, wide = (dict(track_masks(read, 2, {0: mask_of(0)}, growth=growth))[1] for growth in (0, 3))
    assert np.array_equal(wide, cv2.dilate(close, np.ones((7, 7), np.uint8)))


def test_painted_masks_are_given_as_they_are():
    masks = dict(track_masks(read, 4, {0: 7 * mask_of(0), 3: mask_of(3)}))
    assert np.array_equal(masks[0], mask_of(0))
    assert np.array_equal(masks[3], mask_of(3))


def test_each_frame_follows_the_painted_one_that_is_nearest():
    nothing_there = np.zeros((HEIGHT, WIDTH), np.uint8)
    masks = dict(track_masks(read, LENGTH, {0: mask_of(0), 4: nothing_there}))
    assert [bool(masks[index].any()) for index in range(5)] == [True] * 2 + [False] * 3


def test_large_frames_are_tracked_at_a_part_of_their_size_and_masked_at_the_whole():
    def read_large(indices):
        return np.stack([cv2.resize(frame, (WIDTH * 8, HEIGHT * 8)) for frame in read(indices)])

    def mask_large(index):
        return cv2.resize(mask_of(index), (WIDTH * 8, HEIGHT * 8), interpolation=cv2.INTER_NEAREST)

    masks = dict(track_masks(read_large, 4, {0: mask_large(0)}))
    assert masks[3].shape == (HEIGHT * 8, WIDTH * 8)
    assert covered(masks[3], mask_large(3)) > 0.97


def test_few_frames_are_read_at_a_time():
    asked = []

    def counting(indices):
        asked.append(len(indices))
        return read(indices)

    list(track_masks(counting, LENGTH, {LENGTH - 1: mask_of(LENGTH - 1)}))
    assert max(asked) == 1
    assert sum(asked) <= 2 * LENGTH


def test_nothing_painted_and_frames_outside_are_refused():
    with pytest.raises(ValueError, match="painted"):
        next(track_masks(read, LENGTH, {}))
    with pytest.raises(ValueError, match="painted"):
        next(track_masks(read, LENGTH, {LENGTH: mask_of(0)}))
