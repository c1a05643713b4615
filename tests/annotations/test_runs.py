"""Compressed run lengths of many masks, read at once."""

import numpy as np
import pytest

from lightvid.annotations.rle import encode
from lightvid.annotations.runs import read_runs

HEIGHT, WIDTH = 40, 35


def masks():
    random = np.random.default_rng(0)
    rows, columns = np.indices((HEIGHT, WIDTH))
    textures = [random.random((HEIGHT, WIDTH)) < share for share in (0, 0.01, 0.5, 0.99, 1)]
    return [*textures, (rows + columns) % 2 == 0, (columns > 10) & (columns < 30), rows == 0, rows == HEIGHT - 1]


def test_the_runs_of_ones_draw_the_masks_again():
    drawn = masks()
    runs = read_runs([encode(mask)["counts"] for mask in drawn])
    assert (runs.totals == HEIGHT * WIDTH).all()
    assert runs.areas.tolist() == [mask.sum() for mask in drawn]
    first = 0
    for mask, count in zip(drawn, runs.counts, strict=True):
        pixels = np.zeros(HEIGHT * WIDTH, bool)
        for start, stop in zip(runs.starts[first : first + count], runs.stops[first : first + count], strict=True):
            pixels[start:stop] = True
        assert np.array_equal(pixels.reshape(WIDTH, HEIGHT).T, mask)
        first += count


def test_runs_longer_than_a_thousand_million_pixels_are_read():
    """Of 40 000 x 40 000 pixels: one row of ones in the middle of the image, and nothing else."""
    side = 40_000
    text = "".join(written(number) for number in (side * (side // 2), side, side * side - side * (side // 2) - side))
    runs = read_runs([text, text])
    assert runs.totals.tolist() == [side * side] * 2
    assert runs.areas.tolist() == [side] * 2


def written(number):
    text = ""
    while number > 15 or not text:
        text += chr((number & 31) + 32 + 48)
        number >>= 5
    return text + chr(number + 48)


@pytest.mark.parametrize("text", ["", "é", "ooo", "~", "0o", "\ud800"])
def test_what_is_no_run_lengths_is_told_and_leaves_the_others_as_they_are(text):
    whole = encode(masks()[2])["counts"]
    runs = read_runs([whole, text, whole])
    assert runs.totals.tolist() == [HEIGHT * WIDTH, -1, HEIGHT * WIDTH]
    assert runs.areas[0] == runs.areas[2] == masks()[2].sum()


def test_torn_texts_do_not_fill_the_mask():
    checkers = encode(masks()[5])["counts"]
    assert (read_runs([checkers[:end] for end in range(len(checkers) - 1)]).totals != HEIGHT * WIDTH).all()


def test_runs_of_less_than_no_pixels_are_damage():
    """5 zeros, 5 ones, -4 zeros and 30 ones; 36 pixels all the same."""
    assert read_runs(["55" + chr(28 + 48) + written(25)]).totals.tolist() == [-1]


def test_no_texts_have_no_runs():
    assert len(read_runs([]).totals) == 0
