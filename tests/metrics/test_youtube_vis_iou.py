"""The overlap of tracks beside counted pixels, whether or not pairs that overlap little are left out."""

import numpy as np
import pytest

from lightvid.annotations.rle import encode, to_rle
from lightvid.metrics.youtube_vis_iou import spatio_temporal_iou
from lightvid.metrics.youtube_vis_tubes import read_tubes

HEIGHT, WIDTH = 18, 25


def canvases(random, count, frames):
    """`(count, frames, H, W)`: rectangles with holes that move; some frames are empty."""
    drawn = np.zeros((count, frames, HEIGHT, WIDTH), bool)
    for track in drawn:
        (top, left), (height, width) = random.integers(0, 6, 2), random.integers(5, 15, 2)
        for canvas in track:
            top, left = np.maximum(np.add((top, left), random.integers(-1, 2, 2)), 0)
            canvas[top : top + height, left : left + width] = random.random() > 0.1
    return drawn & (random.random(drawn.shape) > 0.05)


def tubes(drawn):
    """Of empty frames, one has a mask without pixels and the next none."""
    return read_tubes(
        [[encode(canvas) if canvas.any() or frame % 2 else None for frame, canvas in enumerate(d)] for d in drawn]
    )


def counted(first, second):
    shared = (first[:, None] & second).sum((2, 3, 4))
    return shared / np.maximum((first[:, None] | second).sum((2, 3, 4)), 1)


@pytest.mark.parametrize("frames", [1, 7, 70])
def test_pairs_that_reach_the_least_overlap_are_exact_and_the_others_stay_below(frames):
    for seed in range(8):
        random = np.random.default_rng(seed)
        first, second = canvases(random, 9, frames), canvases(random, 4, frames)
        expected = counted(first, second)
        exact = spatio_temporal_iou(tubes(first), tubes(second))
        assert exact == pytest.approx(expected, abs=1e-12)
        for least in (0.3, 0.5, expected.max()):
            found = spatio_temporal_iou(tubes(first), tubes(second), least=least)
            reached = expected >= least
            assert (found[reached] == exact[reached]).all()
            assert (found[~reached] < least).all()


def test_masks_of_any_texture_are_compared_exactly():
    random = np.random.default_rng(0)
    rows, columns = np.indices((HEIGHT, WIDTH))
    textures = [random.random((HEIGHT, WIDTH)) < share for share in (0.02, 0.3, 0.5, 0.9, 0.98)]
    textures += [rows % 2 == 0, (rows + columns) % 2 == 0, columns % 3 > 0, rows > 5, rows < 5, rows >= 0]
    textures += [rows == HEIGHT - 1, columns == WIDTH - 1, (rows % (HEIGHT - 1) == 0) | (columns > 20)]
    drawn = np.stack([np.stack((texture, texture[::-1, ::-1])) for texture in textures])
    assert spatio_temporal_iou(tubes(drawn), tubes(drawn)) == pytest.approx(counted(drawn, drawn), abs=1e-12)


PIXELS = HEIGHT * WIDTH


@pytest.mark.parametrize(
    "counts",
    [
        [30, 5, 0, 7, PIXELS - 42],  # no zeros between ones
        [30, 0, 3, 5, 0, 0, 1, 4, PIXELS - 43],  # no ones before, within and behind
        [0, HEIGHT, PIXELS - HEIGHT],  # up to the end of a column
        [0, 0, 4, 5, PIXELS - 9],
        [PIXELS - 2, 2],
        [PIXELS - 4, 4, 0, 0],  # no ones after the last pixel
        [40, 9, PIXELS - 49, 0],
        [HEIGHT - 3, 2, 1, 0, PIXELS - HEIGHT],  # no ones at the start of a column, and none after them
        [HEIGHT - 3, 2, 1, 0, 4, 0, PIXELS - HEIGHT - 4],
    ],
)
def test_runs_without_pixels_change_nothing(counts):
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    drawn = np.stack([flat.reshape(WIDTH, HEIGHT).T, np.indices((HEIGHT, WIDTH)).sum(0) % 7 < 5])[:, None]
    written = to_rle({"size": [HEIGHT, WIDTH], "counts": counts}, HEIGHT, WIDTH, "mask")
    tubes = read_tubes([[written], [encode(drawn[1, 0])]])
    assert spatio_temporal_iou(tubes, tubes) == pytest.approx(counted(drawn, drawn), abs=1e-12)


def test_masks_of_more_than_32767_rows_are_compared_exactly():
    drawn = np.zeros((2, 1, 40_000, 3), bool)
    drawn[0, 0, 100:39_990] = True
    drawn[1, 0, 33_000:, 1:] = drawn[1, 0, ::7, 0] = drawn[1, 0, 10:20, 2] = True
    assert spatio_temporal_iou(tubes(drawn), tubes(drawn)) == pytest.approx(counted(drawn, drawn), abs=1e-12)


@pytest.mark.parametrize("shift", [(0, 9), (9, 0)])
def test_tracks_side_by_side_or_one_below_the_other_are_not_compared(shift, monkeypatch):
    canvas = np.zeros((2, 3, HEIGHT, WIDTH), bool)
    canvas[0, :, :9, :9] = True
    canvas[1] = np.roll(canvas[0], shift, (1, 2))
    compared = []
    monkeypatch.setattr("lightvid.metrics.youtube_vis_iou.shared_pixels", lambda *masks: compared.append(masks))
    one, other = tubes(canvas)
    assert spatio_temporal_iou([one], [other, other], least=0.5).tolist() == [[0, 0]]
    assert not compared
