"""Masks that were painted once follow what they cover."""

import cv2
import numpy as np
import pytest

from lightvid.inpainting.mask_tracking import track_masks

LENGTH, HEIGHT, WIDTH = 24, 80, 120


def texture(seed, height, width):
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width, 3)).astype(np.float32)
    return np.clip((cv2.GaussianBlur(noise, (0, 0), 2) - 128) * 6 + 128, 0, 255).astype(np.uint8)


BACKGROUND, OBJECT = texture(0, HEIGHT, WIDTH), texture(1, 24, 24)[..., ::-1] // 2 + 120


def place(index):
    """Row and column of the object's corner: 2 pixels to the right and half a pixel down each frame."""
    return 10 + index // 2, 10 + 2 * index


def mask_of(index):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    row, column = place(index)
    mask[row : row + 24, column : column + 24] = 1
    return mask


def read(indices):
    frames = np.repeat(BACKGROUND[None], len(indices), axis=0)
    for frame, index in zip(frames, indices, strict=True):
        frame[mask_of(index) > 0] = OBJECT.reshape(-1, 3)
    return frames


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize("painted", [[0], [LENGTH - 1], [11], [0, LENGTH - 1]])
def test_a_mask_follows_its_object_forwards_and_backwards(painted):
    masks = dict(track_masks(read, LENGTH, {index: mask_of(index) for index in painted}, growth=0))
    assert sorted(masks) == list(range(LENGTH))
    assert min(iou(masks[index], mask_of(index)) for index in masks) > 0.85


def test_a_grown_mask_covers_the_object_whole():
    masks = dict(track_masks(read, LENGTH, {0: mask_of(0)}, growth=2))
    assert all((masks[index] >= mask_of(index)).mean() > 0.998 for index in masks)


def test_painted_masks_are_given_as_they_are():
    masks = dict(track_masks(read, LENGTH, {5: 7 * mask_of(5), 6: mask_of(6)}))
    assert np.array_equal(masks[5], mask_of(5))
    assert np.array_equal(masks[6], mask_of(6))


def test_each_frame_follows_the_painted_one_that_is_nearest():
    nothing_there = np.zeros((HEIGHT, WIDTH), np.uint8)
    masks = dict(track_masks(read, LENGTH, {0: mask_of(0), 10: nothing_there}))
    assert [bool(masks[index].any()) for index in range(11)] == [True] * 5 + [False] * 6


def test_large_frames_are_tracked_at_a_part_of_their_size_and_masked_at_the_whole():
    def read_large(indices):
        return np.stack([cv2.resize(frame, (WIDTH * 8, HEIGHT * 8)) for frame in read(indices)])

    def mask_large(index):
        return cv2.resize(mask_of(index), (WIDTH * 8, HEIGHT * 8), interpolation=cv2.INTER_NEAREST)

    masks = dict(track_masks(read_large, 8, {0: mask_large(0)}, growth=0))
    assert masks[7].shape == (HEIGHT * 8, WIDTH * 8)
    assert iou(masks[7], mask_large(7)) > 0.85


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
