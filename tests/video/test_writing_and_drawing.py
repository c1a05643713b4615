"""Written videos and pictures show what they were given."""

import cv2
import numpy as np
import pytest

from lightvid.video import open_video, picture_strip, write_png, write_video


@pytest.mark.parametrize("size", [(32, 48), (31, 47)])
def test_a_written_video_reads_back(tmp_path, size):
    ramp = np.linspace(0, 255, size[1]).astype(np.uint8)
    frames = np.stack([np.stack([np.tile(ramp, (size[0], 1))] * 3, axis=2) // (t + 1) for t in range(4)])
    write_video(tmp_path / "new/folder/clip.mp4", frames, 23.976)
    read = open_video(tmp_path / "new/folder/clip.mp4").read([3, 0])
    assert read.shape == (2, 32, 48, 3)
    assert np.abs(read[:, : size[0], : size[1]].astype(int) - frames[[3, 0]]).mean() < 3


def test_a_strip_shows_every_frame_once_in_rows(tmp_path):
    colours = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    row = np.broadcast_to(colours[:, None, None], (3, 40, 60, 3)).copy()
    picture = picture_strip([("masked", row), ("truth", row[:2])])
    counts = [int((picture == colour).all(axis=2).sum()) for colour in colours]
    assert counts == [2 * 40 * 60, 2 * 40 * 60, 40 * 60]
    write_png(tmp_path / "pictures/strip.png", picture)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "pictures/strip.png"))[..., ::-1], picture)


def test_captions_are_written_beside_the_frames():
    row = np.zeros((1, 40, 60, 3), np.uint8)
    assert picture_strip([("restored", row)]).shape[1] > picture_strip([("", row)]).shape[1]
