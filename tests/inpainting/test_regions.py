from itertools import pairwise

import cv2
import numpy as np
import pytest
from small_videos import GeneratedVideo, MixingNetwork, plain_network, whole

from lightvid.errors import ConfigurationError
from lightvid.inpainting.boxes import OVERLAP, SHORTEST_SEGMENT, Box, BoxSizes, segments
from lightvid.inpainting.network_restorer import NetworkRestorer
from lightvid.inpainting.regions import CroppedVideo, RegionRestorer

WORKING = (24, 40)


class Recorder:
    """Paints holes in one colour, and remembers the videos it was given."""

    def __init__(self, colour=77):
        self.colour, self.videos, self.starts = colour, [], []

    def restore(self, video, *, start=0):
        self.videos.append(video)
        self.starts.append(start)
        for index in range(start, len(video)):
            (frame,), (mask,) = video.read([index]), video.read_masks([index])
            yield np.where(mask[..., None] > 0, np.uint8(self.colour), frame)


def crossing(t):
    """A small hole that crosses a wide frame in 100 frames."""
    return (30 + t % 3, 2 * t, 6, 8)


def test_frames_up_to_the_working_size_pass_through_untouched():
    recorder, video = Recorder(), GeneratedVideo(5, *WORKING)
    list(RegionRestorer(recorder, working_size=WORKING).restore(video, start=2))
    assert recorder.videos == [video]
    assert recorder.starts == [2]


def test_a_small_hole_is_restored_at_its_own_resolution_in_a_region_of_the_working_size():
    recorder, video = Recorder(), GeneratedVideo(6, 96, 160, lambda t: (50 + t, 70, 6, 8))
    frames, masks = whole(video)
    restored = np.stack(list(RegionRestorer(recorder, working_size=WORKING).restore(video)))
    (region,) = recorder.videos
    assert region.size() == WORKING
    assert np.array_equal(region.read([3]), frames[3:4, 43:67, 54:94])  # centred, not scaled
    assert (restored[masks > 0] == 77).all()
    assert np.array_equal(restored[masks == 0], frames[masks == 0])


def test_a_large_hole_is_restored_smaller_and_known_pixels_keep_every_bit():
    recorder, video = Recorder(), GeneratedVideo(4, 96, 160, lambda t: (20, 30, 50, 70))
    frames, masks = whole(video)
    restored = np.stack(list(RegionRestorer(recorder, working_size=WORKING).restore(video)))
    (region,) = recorder.videos
    assert region.size()[0] <= 24 and region.size()[1] <= 40
    assert np.array_equal(restored[masks == 0], frames[masks == 0])
    assert np.abs(restored[masks > 0].astype(int) - 77).mean() < 10


def test_every_frame_that_is_all_hole_but_for_a_border_gives_the_whole_frame():
    sizes = BoxSizes((96, 150), WORKING, context=0.5)
    assert sizes.around(Box(2, 2, 94, 148)) == Box(0, 0, 96, 150)
    assert sizes.reduced(Box(0, 0, 96, 150)) == (24, 38)


@pytest.mark.parametrize("hole", [Box(0, 0, 6, 8), Box(90, 152, 96, 160), Box(40, 0, 44, 3)])
def test_a_box_at_the_border_is_moved_inside_not_cut(hole):
    box = BoxSizes((96, 160), WORKING, context=0.5).around(hole)
    assert box.size() == WORKING
    assert box.top >= 0 and box.left >= 0 and box.bottom <= 96 and box.right <= 160
    assert box.top <= hole.top and box.left <= hole.left and box.bottom >= hole.bottom and box.right >= hole.right


def test_a_box_has_the_working_aspect_ratio_and_the_context():
    box = BoxSizes((300, 500), WORKING, context=0.5).around(Box(100, 200, 130, 220))
    assert box == Box(85, 160, 145, 260)  # 30 rows and half of them on each side; 60 * 40 / 24 columns


def test_pixels_are_averaged_and_a_pixel_with_any_hole_is_one():
    video = GeneratedVideo(1, 48, 80, lambda t: (9, 11, 1, 1))
    small = CroppedVideo(video, Box(0, 0, 48, 80), (12, 20))
    mask = small.read_masks([0])[0]
    assert np.argwhere(mask).tolist() == [[2, 2]]
    block = video.read([0])[0, 8:12, 8:12].reshape(-1, 3).mean(0)
    assert np.abs(small.read([0])[0, 2, 2] - block).max() <= 0.51


def test_segments_share_frames_cover_the_video_and_contain_all_holes():
    video = GeneratedVideo(300, 60, 640, lambda t: None if t % 50 == 7 else crossing(t))
    found = list(segments(video, BoxSizes(video.size(), WORKING, 0.5)))
    assert len(found) > 2
    assert found[0].frames.start == 0 and found[-1].frames.stop == 300
    for one, other in pairwise(found):
        assert other.frames.start == one.frames.stop - OVERLAP
        assert len(one.frames) >= SHORTEST_SEGMENT
    for segment in found:
        for mask in video.read_masks(segment.frames):
            assert segment.box.cut(mask).sum() == mask.sum()


def test_a_hole_that_stands_still_has_one_segment_and_a_video_without_holes_no_box():
    sizes = BoxSizes((60, 640), WORKING, 0.5)
    still = GeneratedVideo(200, 60, 640, lambda t: (10, 600, 5, 5) if t > 90 else None)
    assert [segment.frames for segment in segments(still, sizes)] == [range(200)]
    (segment,) = segments(GeneratedVideo(90, 60, 640, lambda t: None), sizes)
    assert segment.box is None


def test_a_video_without_holes_is_given_back_and_the_restorer_is_not_asked():
    recorder, video = Recorder(), GeneratedVideo(10, 60, 100, lambda t: None)
    restored = list(RegionRestorer(recorder, working_size=WORKING).restore(video, start=3))
    assert np.array_equal(restored, video.read(range(3, 10)))
    assert recorder.videos == []


class Brighter(Recorder):
    """Each run paints in another colour."""

    def restore(self, video, *, start=0):
        self.colour = 40 + 60 * len(self.videos)
        yield from super().restore(video, start=start)


def test_one_segment_fades_into_the_next():
    video = GeneratedVideo(100, 60, 240, lambda t: (20, 2 * t, 20, 40))
    restored = list(RegionRestorer(Brighter(), working_size=WORKING).restore(video))
    first = next(segments(video, BoxSizes(video.size(), WORKING, 0.5))).frames
    levels = [int(restored[t][30, 2 * t + 20, 0]) for t in range(first.stop - OVERLAP - 1, first.stop + 1)]
    assert levels == [40, 50, 60, 70, 80, 90, 100]


@pytest.mark.parametrize("start", [1, 38, 43, 60, 99])
def test_a_later_start_gives_the_same_frames(start):
    video = GeneratedVideo(100, 60, 220, crossing)
    restorer = RegionRestorer(NetworkRestorer(MixingNetwork(), max_references=2), working_size=WORKING)
    everything = list(restorer.restore(video))
    assert np.array_equal(everything[start:], list(restorer.restore(video, start=start)))


def test_the_video_is_never_read_by_two_threads_at_once_and_only_in_small_batches(monkeypatch):
    monkeypatch.setattr("lightvid.inpainting.boxes.PIXELS_AT_ONCE", 3 * 60 * 220)
    reading = []

    class Single(GeneratedVideo):
        def read(self, indices):
            assert not reading and len(indices) <= 3
            reading.append(1)
            frames = super().read(indices)
            reading.pop()
            return frames

        def read_masks(self, indices):
            assert len(indices) <= 3
            return super().read_masks(indices)

    video = Single(60, 60, 220, crossing)
    restorer = RegionRestorer(NetworkRestorer(plain_network(), max_references=2), working_size=WORKING)
    assert len(list(restorer.restore(video))) == 60


def test_a_smooth_picture_comes_back_from_a_smaller_region():
    y, x = np.mgrid[:96, :160]
    smooth = np.repeat((120 + 60 * np.sin(x / 25) * np.cos(y / 20)).astype(np.uint8)[..., None], 3, 2)

    class Smooth(GeneratedVideo):
        def read(self, indices):
            return np.stack([smooth] * len(indices))

    class Oracle:
        """Knows the truth at the region's size."""

        def restore(self, video, *, start=0):
            for index in range(start, len(video)):
                truth = cv2.resize(video.box.cut(smooth), video.size()[::-1], interpolation=cv2.INTER_AREA)
                (frame,), (mask,) = video.read([index]), video.read_masks([index])
                yield np.where(mask[..., None] > 0, truth, frame)

    video = Smooth(2, 96, 160, lambda t: (20, 30, 50, 70))
    for frame in RegionRestorer(Oracle(), working_size=WORKING).restore(video):
        assert np.abs(frame.astype(int) - smooth).max() <= 3


def test_mistakes_are_answered():
    with pytest.raises(ConfigurationError, match="working_size"):
        RegionRestorer(Recorder(), working_size=(0, 432))
