"""Random masks have the published statistics; object masks are the annotated objects, widened."""

import numpy as np
import pytest

from lightvid.datamodules.masks import dilate, fill_nonzero, random_moving_masks

HEIGHT, WIDTH, LENGTH, DRAWS = 240, 432, 90, 400


def corners(masks: np.ndarray) -> np.ndarray:
    return np.array([(np.argmax(mask.any(axis=1)), np.argmax(mask.any(axis=0))) for mask in masks])


@pytest.fixture(scope="module")
def first_frames() -> np.ndarray:
    return np.stack(
        [random_moving_masks(np.random.default_rng(s), LENGTH, HEIGHT, WIDTH, [0])[0] for s in range(DRAWS)]
    )


def test_the_hole_covers_as_much_as_published(first_frames):
    ratios = first_frames.mean(axis=(1, 2))
    assert ratios.mean() == pytest.approx(0.073, abs=0.006)
    assert ratios.std() == pytest.approx(0.033, abs=0.005)
    published = [0.029, 0.048, 0.068, 0.093, 0.134]
    np.testing.assert_allclose(np.percentile(ratios, [5, 25, 50, 75, 95]), published, atol=0.015)


def test_the_bounding_box_is_as_large_as_published(first_frames):
    heights = np.array([mask.any(axis=1).sum() for mask in first_frames]) / HEIGHT
    widths = np.array([mask.any(axis=0).sum() for mask in first_frames]) / WIDTH
    np.testing.assert_allclose(np.percentile(heights, [5, 50, 95]), [0.204, 0.354, 0.562], atol=0.04)
    np.testing.assert_allclose(np.percentile(widths, [5, 50, 95]), [0.194, 0.377, 0.583], atol=0.04)
    assert (heights.mean(), widths.mean()) == (pytest.approx(0.360, abs=0.02), pytest.approx(0.379, abs=0.02))


def test_moving_masks_move_as_published():
    steps = []
    for seed in range(100):
        masks = random_moving_masks(np.random.default_rng(seed), LENGTH, HEIGHT, WIDTH, motion="moving")
        steps.append(np.hypot(*np.diff(corners(masks), axis=0).T))
    steps = np.concatenate(steps)
    assert steps.mean() == pytest.approx(3.04, abs=0.3)
    assert np.median(steps) == pytest.approx(2.39, abs=0.4)
    assert (steps == 0).mean() == pytest.approx(0.23, abs=0.03)


def test_half_of_the_random_masks_stand_still():
    draws = [random_moving_masks(np.random.default_rng(s), 30, 60, 108, [0, 15, 29]) for s in range(DRAWS)]
    moving = np.mean([not (masks == masks[0]).all() for masks in draws])
    assert moving == pytest.approx(0.5, abs=0.08)
    still = random_moving_masks(np.random.default_rng(3), 30, 60, 108, motion="stationary")
    assert (still == still[0]).all()


def test_the_shape_is_rigid_and_stays_inside_the_frame():
    masks = random_moving_masks(np.random.default_rng(1), LENGTH, 60, 108, motion="moving")
    assert len(np.unique(corners(masks), axis=0)) > 10
    assert len(set(masks.sum(axis=(1, 2)).tolist())) == 1


def test_the_frames_asked_for_do_not_change_the_mask():
    whole = random_moving_masks(np.random.default_rng(7), LENGTH, 60, 108, motion="moving")
    some = random_moving_masks(np.random.default_rng(7), LENGTH, 60, 108, [80, 3, 40], motion="moving")
    np.testing.assert_array_equal(some, whole[[80, 3, 40]])


def test_a_polygon_is_filled_where_its_winding_number_is_not_zero():
    turns = np.arange(5) * 2 * 2 * np.pi / 5  # a pentagram, whose middle is wound twice
    star = fill_nonzero(32 + 30 * np.sin(turns), 32 - 30 * np.cos(turns), 64, 64)
    assert star[32, 32] == 1 and star[4, 32] == 1 and star[2, 10] == 0 and star[62, 32] == 0
    square = fill_nonzero(np.array([2.0, 7, 7, 2]), np.array([3.0, 3, 9, 9]), 12, 12)
    expected = np.zeros((12, 12), np.uint8)
    expected[3:9, 2:7] = 1
    np.testing.assert_array_equal(square, expected)


def test_dilation_adds_a_diamond():
    mask = np.zeros((2, 21, 21), np.uint8)
    mask[0, 10, 10] = 1
    y, x = np.mgrid[:21, :21]
    np.testing.assert_array_equal(dilate(mask, 4)[0], abs(y - 10) + abs(x - 10) <= 4)
    assert dilate(mask, 4)[1].sum() == 0
    np.testing.assert_array_equal(dilate(mask, 0), mask)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1, 30)])
def test_the_smallest_frames_have_holes_too(size):
    for seed in range(20):
        assert random_moving_masks(np.random.default_rng(seed), 3, *size).any((1, 2)).all()
