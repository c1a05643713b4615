"""Drawn tracks, and videos written frame by frame."""

import av
import numpy as np
import pytest

from lightvid.video import VideoWriter, draw_tracks, open_video
from lightvid.video.overlays import track_colour


def square(top, left, side=20, size=(60, 90)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_a_track_has_the_same_colour_whatever_else_is_in_the_frame():
    frame = np.full((60, 90, 3), 100, np.uint8)
    alone = draw_tracks(frame, [square(35, 60)], ids=[4], labels=["b"])
    both = draw_tracks(frame, [square(35, 5), square(35, 60)], ids=[1, 4], labels=["a", "b"])
    swapped = draw_tracks(frame, [square(35, 60), square(35, 5)], ids=[4, 1], labels=["b", "a"])
    np.testing.assert_array_equal(alone[30:, 55:], both[30:, 55:])
    np.testing.assert_array_equal(both, swapped)
    assert (frame == 100).all()


def test_the_first_tracks_have_colours_far_apart():
    colours = np.array([track_colour(number) for number in range(12)]).astype(int)
    distances = np.abs(colours[:, None] - colours).sum(-1) + 1000 * np.eye(12)
    assert distances.min() > 60


def test_tracks_that_are_not_in_the_frame_leave_it_as_it_is():
    frame = np.random.default_rng(0).integers(0, 255, (60, 90, 3)).astype(np.uint8)
    drawn = draw_tracks(frame, [None, np.zeros((60, 90), np.uint8)], ids=[0, 1], labels=["a", "b"], scores=[0.5, 0.6])
    np.testing.assert_array_equal(drawn, frame)
    np.testing.assert_array_equal(draw_tracks(frame, [], ids=[], labels=[]), frame)


@pytest.mark.parametrize("corner", [(0, 0), (40, 70), (55, 85)])
@pytest.mark.parametrize("background", [0, 255])
def test_labels_stay_inside_and_readable(corner, background):
    frame = np.full((60, 90, 3), background, np.uint8)
    drawn = draw_tracks(frame, [square(*corner)], ids=[3], labels=["dog"], scores=[0.87])
    plain = draw_tracks(frame, [square(*corner)], ids=[3], labels=[""])
    text = (drawn != plain).any(2)
    assert text.sum() > 100
    luminance = drawn[text].astype(float) @ [0.299, 0.587, 0.114]
    assert luminance.max() - luminance.min() > 60


def test_a_video_written_frame_by_frame_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new/clip.mp4"
    frames = np.stack([np.full((30, 46, 3), 60 * t, np.uint8) for t in range(4)])
    with VideoWriter(path, 12.5) as writer:
        for frame in frames:
            writer.write(frame)
            assert not path.exists()
    video = open_video(path)
    assert np.abs(video.read(range(4)).astype(int) - frames).max() < 6
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 12.5
    assert [file.name for file in path.parent.iterdir()] == ["clip.mp4"]


def test_a_video_that_ends_in_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "clip.mp4", 24) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
