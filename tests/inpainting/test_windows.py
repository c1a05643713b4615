from itertools import pairwise

import pytest

from lightvid.inpainting.windows import SlidingWindows, published_windows


def sliding(length, *, size=11, stride=8, reference_stride=10, max_references=18):
    return SlidingWindows(length, size, stride, reference_stride, max_references)


def test_published_windows_lie_around_every_fifth_frame_and_refer_to_every_tenth():
    windows = list(published_windows(33, 5, 10, None))
    assert [(window.local.start, window.local.stop) for window in windows] == [
        (0, 6),
        (0, 11),
        (5, 16),
        (10, 21),
        (15, 26),
        (20, 31),
        (25, 33),
    ]
    assert [window.references for window in windows[:4]] == [(10, 20, 30), (20, 30), (0, 20, 30), (0, 30)]


@pytest.mark.parametrize(("length", "most"), [(50, 15), (104, 21), (180, 28)])
def test_published_windows_grow_with_the_video(length, most):
    sizes = [len(window.local) + len(window.references) for window in published_windows(length, 5, 10, None)]
    assert max(sizes) == most


def test_limited_published_references_are_every_tenth_frame_from_the_first_in_reach():
    windows = published_windows(33, 5, 10, 4)
    expected = [(10, 20), (20,), (0, 20, 30), (0, 30), (0, 10, 30), (5, 15), (10, 20)]
    assert [window.references for window in windows] == expected


def test_limited_references_lie_on_a_grid_around_the_centre_of_the_window():
    windows = list(published_windows(61, 5, 10, 4))
    assert [window.references for window in windows] == [
        (10, 20),
        (20,),
        (0, 20, 30),
        (0, 30),
        (0, 10, 30, 40),
        (5, 15, 35, 45),
        (10, 20, 40, 50),
        (15, 25, 45, 55),
        (20, 30, 50, 60),
        (25, 35, 55),
        (30, 40, 60),
        (35, 45),
        (40, 50),
    ]
    assert all(window.references == () for window in published_windows(61, 5, 10, 0))


@pytest.mark.parametrize("length", [1, 2, 10, 11, 12, 19, 20, 40, 93, 400])
@pytest.mark.parametrize("stride", [3, 8, 11])
def test_sliding_windows_cover_the_video_evenly_and_are_as_few_as_can_be(length, stride):
    windows = list(sliding(length, stride=stride))
    shared = 11 - stride
    assert {index for window in windows for index in window.local} == set(range(length))
    lengths = [len(window.local) for window in windows]
    assert max(lengths) <= min(lengths) + 1 <= 12
    assert all(later.local.start == window.local.stop - shared for window, later in pairwise(windows))
    assert len(windows) == 1 or 11 + (len(windows) - 2) * stride < length, "one window less would not do"


def test_forty_frames_are_three_windows_that_share_three_frames():
    windows = sliding(40, size=16, stride=13)
    assert [window.local for window in windows] == [range(15), range(12, 27), range(24, 40)]


@pytest.mark.parametrize("length", [1, 11, 40, 93])
def test_a_frame_is_finished_by_the_last_window_that_has_it_and_begun_by_the_first(length):
    windows = sliding(length)
    finished = [index for number in range(len(windows)) for index in windows.finished_with(number)]
    assert finished == list(range(length))
    for frame in range(length):
        having = [number for number, window in enumerate(windows) if frame in window.local]
        assert windows.first_with(frame) == having[0]
        assert frame in windows.finished_with(having[-1])
    assert windows.first_with(length) == len(windows)


def test_references_are_the_nearest_on_both_sides_and_none_is_lost_at_the_ends():
    windows = sliding(200, max_references=6)
    middle = windows[windows.first_with(100)]
    assert middle.local == range(94, 105)
    assert middle.references == (70, 80, 90, 110, 120, 130)
    assert windows[0].local == range(10)
    assert windows[0].references == (10, 20, 30, 40, 50, 60)
    assert windows[len(windows) - 1].references == (130, 140, 150, 160, 170, 180)


def test_a_video_with_few_references_uses_all_of_them():
    for window in sliding(60):
        assert set(window.references) | set(window.local) >= {0, 10, 20, 30, 40, 50}
    assert all(window.references == () for window in sliding(60, max_references=0))


@pytest.mark.parametrize("max_references", [0, 1, 2, 5, 18])
@pytest.mark.parametrize("size_and_stride", [(11, 8), (5, 5), (20, 3), (1, 1)])
@pytest.mark.parametrize("reference_stride", [1, 4, 10])
def test_what_a_later_window_looks_at_is_kept_and_what_is_kept_is_bounded(
    max_references, size_and_stride, reference_stride
):
    size, stride = size_and_stride
    for length in (1, 12, 57, 58, 59, 60, 131):
        windows = SlidingWindows(length, size, stride, reference_stride, max_references)
        seen, kept = set(), set()
        for number, window in enumerate(windows):
            frames = {*window.local, *window.references}
            assert not (frames - kept) & seen  # never forgotten too early
            seen |= frames
            kept = {frame for frame in kept | frames if windows.needs_again(number, frame)}
            assert len(kept) <= size + max_references + 1
        assert not kept
