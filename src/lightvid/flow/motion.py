"""Motion between two frames with holes: flow that is right up to the hole's border, and completed inside."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lightvid.flow.completion import completed_flow
from lightvid.flow.dis import dis_flow
from lightvid.flow.regions import Field, Image, Region, inside, length, pixel_positions, sample, widened

Matrix = NDArray[np.float64]

# Pixels around a hole whose flow what fills the hole has spoilt: two patches of the search at half size.
SPOILT = 16
# The camera's motion is fitted to a grid of so many pixels, and to no fewer places than so many.
STRIDE, FEWEST = 6, 20


@dataclass(frozen=True)
class Motion:
    """Motion from one frame to the next.

    Attributes:
        forward: `(H, W, 2)` flow in pixels, x first, from the first frame to the second.
        backward: from the second to the first.
        camera: `(3, 3)` homography from the first to the second that most of the frame follows.
    """

    forward: Field
    backward: Field
    camera: Matrix


def motion_between(first: Image, second: Image, first_hole: Region, second_hole: Region) -> Motion:
    """Motion between two frames, of known and hidden pixels alike.

    Args:
        first: `(H, W, 3)` RGB, its hole filled smoothly.
        second: likewise.
        first_hole: `(H, W)`, where the first frame is not known.
        second_hole: likewise.
    """
    forward = dis_flow(first, second, preset="medium")
    backward = dis_flow(second, first, preset="medium")
    arrives = sample(second_hole.view(np.uint8), pixel_positions(*first_hole.shape) + forward) == 0
    trusted = agreeing(forward, backward) & arrives & ~widened(first_hole, SPOILT)
    camera = fitted_homography(forward, trusted)
    there = homography_flow(camera, *first_hole.shape)
    back = homography_flow(np.asarray(np.linalg.inv(camera)), *first_hole.shape)
    return Motion(
        completed_flow(forward, first, second, first_hole, second_hole, camera=there, spoilt=SPOILT),
        completed_flow(backward, second, first, second_hole, first_hole, camera=back, spoilt=SPOILT),
        camera,
    )


def agreeing(flow: Field, opposite: Field) -> Region:
    """Where following a flow and coming back along the opposite one ends near the start.

    Sundaram et al., ECCV 2010, Eq. 5.
    """
    height, width = flow.shape[:2]
    positions = pixel_positions(height, width) + flow
    back = sample(opposite, positions)
    lengths = length(flow) ** 2 + length(back) ** 2
    close = length(flow + back) ** 2 < 0.01 * lengths + 0.5
    return np.asarray(close & inside(positions, height, width))


def fitted_homography(flow: Field, trusted: Region) -> Matrix:
    """The homography that most of the trusted flow follows within a pixel (RANSAC); no motion if there is none."""
    grid = slice(None, None, STRIDE), slice(None, None, STRIDE)
    chosen = trusted[grid]
    positions = pixel_positions(*trusted.shape)[grid][chosen]
    if len(positions) < FEWEST:
        return np.eye(3)
    homography, _ = cv2.findHomography(positions, positions + flow[grid][chosen], cv2.RANSAC, 1.0, maxIters=200)
    if homography is None or abs(np.linalg.det(homography)) < 1e-6:
        return np.eye(3)
    return np.asarray(homography, np.float64)


def homography_flow(homography: Matrix, height: int, width: int) -> Field:
    """The flow `(height, width, 2)` of a homography."""
    positions = pixel_positions(height, width)
    return np.asarray(cv2.perspectiveTransform(positions, homography) - positions, np.float32)
