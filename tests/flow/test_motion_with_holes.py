"""Motion between two frames of which parts are hidden."""

import cv2
import numpy as np
import pytest

from lightvid.flow import dis_flow, motion_between
from lightvid.flow.membrane import membrane
from lightvid.flow.motion import homography_flow

H, W = 96, 128


def scene() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(H, W + 40, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def hidden(rows: slice, columns: slice) -> np.ndarray:
    hole = np.zeros((H, W), bool)
    hole[rows, columns] = True
    return hole


def closed(frame: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return membrane(frame, hole).round().astype(np.uint8)


def test_the_flow_in_and_around_a_hole_that_moves_otherwise_is_the_scenes():
    world, (first_hole, second_hole) = scene(), (hidden(slice(30, 60), slice(x, x + 30)) for x in (40, 44))
    first, second = world[:, 8 : 8 + W], world[:, :W]
    motion = motion_between(closed(first, first_hole), closed(second, second_hole), first_hole, second_hole)
    inner = np.s_[10:-10, 20:-20]
    assert np.abs(motion.forward[inner] - (8, 0)).max() < 0.5
    assert np.abs(motion.backward[inner] + (8, 0)).max() < 0.5
    assert np.allclose(motion.camera, [[1, 0, 8], [0, 1, 0], [0, 0, 1]], atol=0.2)


def test_without_anything_to_see_nothing_moves():
    flat, nothing = np.full((H, W, 3), 50, np.uint8), np.ones((H, W), bool)
    motion = motion_between(flat, flat, nothing, nothing)
    assert not motion.forward.any()
    assert (motion.camera == np.eye(3)).all()


def test_the_flow_of_a_homography_leads_to_where_it_maps():
    homography = np.array([[1, 0, 3], [0, 2, -1], [0, 0, 1]], np.float64)
    flow = homography_flow(homography, 4, 6)
    assert flow[2, 5].tolist() == [3, 1]


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (11, 11)])
def test_frames_smaller_than_a_patch_have_a_flow(size):
    frame = np.zeros((*size, 3), np.uint8)
    assert dis_flow(frame, frame).shape == (*size, 2)


def test_a_membrane_continues_a_slope_and_leaves_what_is_known():
    slope = np.broadcast_to(np.arange(W, dtype=np.float32)[None, :, None], (H, W, 1))
    hole = hidden(slice(20, 70), slice(30, 90))
    filled = membrane(np.where(hole[..., None], 1e6, slope), hole)
    assert np.abs(filled - slope).max() < 2.5
    assert (filled == slope)[~hole].all()


def test_a_membrane_without_a_border_is_zero():
    assert not membrane(np.ones((5, 7, 2)), np.ones((5, 7), bool)).any()
