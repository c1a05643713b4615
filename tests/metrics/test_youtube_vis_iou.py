"""The overlap of tracks beside counted pixels, whether or not pairs that overlap little are left out."""

from typing import NamedTuple

import numpy as np
import pytest

from lightvid.annotations.rle import encode
from lightvid.metrics.youtube_vis_iou import spatio_temporal_iou

HEIGHT, WIDTH = 18, 25


class Track(NamedTuple):
    masks: list
    pixels: np.ndarray


def canvases(random, count, frames):
    """`(count, frames, H, W)`: rectangles with holes that move; some frames are empty."""
    drawn = np.zeros((count, frames, HEIGHT, WIDTH), bool)
    for track in drawn:
        (top, left), (height, width) = random.integers(0, 6, 2), random.integers(5, 15, 2)
        for canvas in track:
            top, left = np.maximum(np.add((top, left), random.integers(-1, 2, 2)), 0)
            canvas[top : top + height, left : left + width] = random.random() > 0.1
    return drawn & (random.random(drawn.shape) > 0.05)


def tracks(drawn):
    """Of empty frames, one has a mask without pixels and the next none."""
    coded = [[encode(canvas) if canvas.any() or frame % 2 else None for frame, canvas in enumerate(d)] for d in drawn]
    return [Track(masks, d.sum((1, 2)).astype(float)) for masks, d in zip(coded, drawn, strict=True)]


def counted(first, second):
    shared = (first[:, None] & second).sum((2, 3, 4))
    return shared / np.maximum((first[:, None] | second).sum((2, 3, 4)), 1)


@pytest.mark.parametrize("frames", [1, 7, 70])
def test_pairs_that_reach_the_least_overlap_are_exact_and_the_others_stay_below(frames):
    for seed in range(8):
        random = np.random.default_rng(seed)
        first, second = canvases(random, 9, frames), canvases(random, 4, frames)
        expected = counted(first, second)
        exact = spatio_temporal_iou(tracks(first), tracks(second))
        assert exact == pytest.approx(expected, abs=1e-12)
        for least in (0.3, 0.5, expected.max()):
            found = spatio_temporal_iou(tracks(first), tracks(second), least=least)
            reached = expected >= least
            assert (found[reached] == exact[reached]).all()
            assert (found[~reached] < least).all()


def test_tracks_apart_are_not_compared_at_all(monkeypatch):
    canvas = np.zeros((2, 3, HEIGHT, WIDTH), bool)
    canvas[0, :, :9], canvas[1, :, 9:] = True, True
    compared = []
    monkeypatch.setattr("lightvid.metrics.youtube_vis_iou.coco.iou", lambda *masks: compared.append(masks))
    both = tracks(canvas)
    assert spatio_temporal_iou([both[0]], [both[1], both[1]], least=0.5).tolist() == [[0, 0]]
    assert not compared
