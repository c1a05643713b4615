"""Clips with instances: masks and boxes stay with the picture, and a seed is a draw."""

import numpy as np
import pytest
import torch

from lightvid.datamodules.augmentations import CleanAugmentation, PublishedAugmentation
from lightvid.datamodules.instance_steps import PhotometricDistortion, resize_mask
from lightvid.datamodules.instance_transforms import InstanceTransform, make_targets, mask_boxes
from lightvid.errors import ConfigurationError

HEIGHT, WIDTH, LENGTH = 48, 80, 4
SMALL = {"first_shortest": [60, 64], "first_longest": 120, "second_shortest": [50, 56], "crop": (36, 60)}
EVERYTHING = CleanAugmentation(horizontal_flip=0.5, vertical_flip=0.5, rotation=10, scale=(0.5, 0.9), colour_jitter=0)


def clip():
    """Black frames with a white and a grey rectangle, which move; their masks `(2, T, H, W)`."""
    frames = np.zeros((LENGTH, HEIGHT, WIDTH, 3), np.uint8)
    masks = np.zeros((2, LENGTH, HEIGHT, WIDTH), np.uint8)
    for time in range(LENGTH):
        masks[0, time, 10:34, 20 + 4 * time : 40 + 4 * time] = 1
        masks[1, time, 4:8, 2:6] = 1
        frames[time][masks[0, time] > 0] = 255
        frames[time][masks[1, time] > 0] = 60
    return frames, masks


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("augmentation", [EVERYTHING, CleanAugmentation(colour_jitter=0, scale=(0.3, 0.6)), None])
def test_masks_stay_with_their_picture(augmentation):
    transform = InstanceTransform([40], None, augmentation)
    shapes = set()
    for seed in range(12):
        frames, masks = transform(*clip(), seed)
        assert frames.shape[:3] == masks.shape[1:] and frames.dtype == masks.dtype == np.uint8
        shapes.add(frames.shape[1:3])
        for time in range(LENGTH):
            assert masks[0, time].sum() < 40 or iou(frames[time, ..., 0] > 130, masks[0, time] > 0) > 0.85
    assert shapes == {(40, 66)}, "as without augmentation"


def test_published_crops_keep_masks_with_their_picture_and_change_the_aspect_ratio():
    transform = InstanceTransform([40], 90, PublishedAugmentation(**SMALL))
    ratios = set()
    for seed in range(12):
        frames, masks = transform(*clip(), seed)
        ratios.add(round(frames.shape[2] / frames.shape[1], 2))
        assert max(frames.shape[1:3]) <= 90 and set(np.unique(masks)) <= {0, 1}
        inside, outside = frames[masks[0] > 0].astype(int), frames[masks.sum(axis=0) == 0].astype(int)
        assert not len(inside) or inside.mean() > outside.mean() + 40
    assert len(ratios) > 6


def test_published_colours_differ_by_frame_and_never_overflow():
    grey = np.full((40, 8, 8, 3), 250, np.uint8)
    step = PhotometricDistortion()
    step.set_random_seed(0)
    changed = step(images=grey)["images"]
    assert len({frame.tobytes() for frame in changed}) > 8
    assert changed.min() > 250 * 0.5 - 32 - 1, "a brighter frame does not wrap around to black"


def test_our_colours_are_alike_over_the_clip():
    frames = np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3), np.uint8).repeat(4, axis=0)
    frames[2] = 0
    transform = InstanceTransform([20], None, CleanAugmentation(scale=(1, 1), horizontal_flip=0, colour_jitter=0.4))
    changed, _ = transform(frames, np.zeros((0, 4, 20, 30), np.uint8), 3)
    assert (changed[0] == changed[1]).all() and (changed[0] == changed[3]).all() and (changed[0] != frames[0]).any()


@pytest.mark.parametrize("kind", [CleanAugmentation, lambda: PublishedAugmentation(**SMALL)])
def test_a_seed_is_a_draw_in_any_order_and_object(kind):
    first, second = (InstanceTransform([30, 40], 90, kind()) for _ in range(2))
    second(*clip(), 99)
    results = [first(*clip(), seed) for seed in range(6)]
    for seed in reversed(range(6)):
        for ours, theirs in zip(results[seed], second(*clip(), seed), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len({frames.tobytes() for frames, _ in results}) == 6


def test_flips_are_drawn_for_the_whole_clip():
    keep = {"scale": (1.0, 1.0), "colour_jitter": 0.0}
    frames, masks = clip()
    for options, axis in (({"horizontal_flip": 1.0}, 3), ({"horizontal_flip": 0.0, "vertical_flip": 1.0}, 2)):
        flipped, flipped_masks = InstanceTransform([HEIGHT], None, CleanAugmentation(**keep, **options))(
            frames, masks, 0
        )
        np.testing.assert_array_equal(flipped, np.flip(frames, axis - 1))
        np.testing.assert_array_equal(flipped_masks, np.flip(masks, axis))


def test_a_crop_keeps_its_part_and_the_aspect_ratio():
    transform = InstanceTransform([24], None, CleanAugmentation(scale=(0.5, 0.5), horizontal_flip=0, colour_jitter=0))
    ramp = np.broadcast_to(np.arange(0, 240, 3, dtype=np.uint8)[None, None, :, None], (1, 48, 80, 3)).copy()
    lefts = set()
    for seed in range(10):
        frames, _ = transform(ramp, np.zeros((0, 1, 48, 80), np.uint8), seed)
        assert frames.shape == (1, 24, 40, 3)
        row = frames[0, 0, :, 0].astype(int)
        assert (np.diff(row) == 3).all(), "half of the frame at its own scale"
        lefts.add(row[0])
    assert len(lefts) > 4


def test_boxes_are_the_extents_of_the_masks():
    masks = torch.zeros(3, 1, 10, 20, dtype=torch.bool)
    masks[0, 0, 2:5, 4:12] = True
    masks[1, 0, 9, 19] = True
    expected = [[[0.4, 0.35, 0.4, 0.3]], [[0.975, 0.95, 0.05, 0.1]], [[0.0, 0.0, 0.0, 0.0]]]
    torch.testing.assert_close(mask_boxes(masks), torch.tensor(expected))
    masks[2] = True
    assert mask_boxes(masks)[2, 0].tolist() == [0.5, 0.5, 1.0, 1.0]


def test_what_leaves_the_frame_is_no_longer_visible_and_dropped_if_it_never_is():
    masks = np.zeros((3, 2, 8, 8), np.uint8)
    masks[0, 1, :4] = masks[2] = 1
    targets = make_targets([5, 6, 7], masks)
    assert targets.classes.tolist() == [5, 7] and targets.visible.tolist() == [[False, True], [True, True]]
    assert targets.boxes.shape == (2, 2, 4) and targets.masks.shape == (2, 2, 8, 8)
    assert targets.boxes[0, 0].tolist() == [0, 0, 0, 0] and targets.masks.dtype == torch.bool
    nothing = make_targets([], np.zeros((0, 2, 8, 8), np.uint8))
    assert nothing.boxes.shape == (0, 2, 4) and nothing.visible.shape == (0, 2) and nothing.classes.shape == (0,)


def test_a_resized_mask_does_not_shift():
    mask = np.zeros((90, 90), np.uint8)
    mask[30:60, 30:60] = 1
    small = resize_mask(mask, 30, 30)
    np.testing.assert_array_equal(small, small[::-1, ::-1])
    assert small.sum() == 100


@pytest.mark.parametrize(
    "options", [{"scale": (0.0, 1.0)}, {"scale": (0.9, 0.5)}, {"horizontal_flip": 2}, {"rotation": -1}]
)
def test_wrong_options_are_named(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        CleanAugmentation(**options)
    with pytest.raises(ConfigurationError, match="crop"):
        PublishedAugmentation(crop=(5, 3))
