"""A video file that is read for long gives what one that is opened for every call gives, in the time of one pass."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lightvid.errors import DataError
from lightvid.video import open_video
from lightvid.video.files import open_container
from lightvid.video.streaming import FrameStream


def encode(path, length=60, *, codec="libx264", rate=30, times=None, gop=12, rotation=0, size=(48, 64), live=False):
    coarse = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w", options={"live": "1"} if live else {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt, stream.codec_context.gop_size = "yuvj420p" if codec == "mjpeg" else "yuv420p", gop
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(length):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, number, axis=1), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


ORDERS = {
    "forwards": list(range(60)),
    "backwards": list(range(59, -1, -1)),
    "windows and references": [
        i for start in range(0, 50, 5) for i in (*range(start, start + 10), 0, 30, 59, start // 2)
    ],
    "at random": np.random.default_rng(1).integers(0, 60, 100).tolist(),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {}),
        ("clip.avi", {}),  # H.264 stored in another order than shown, in a format that does not say so
        ("clip.mkv", {"codec": "ffv1"}),
        ("clip.mp4", {"codec": "mpeg4", "gop": 600}),
        ("clip.mp4", {"gop": 2}),
        ("clip.mp4", {"times": np.cumsum(np.random.default_rng(2).integers(10, 90, 60)).tolist()}),
    ],
)
def test_any_order_gives_the_frames_asked_for(tmp_path, order, name, options):
    path = encode(tmp_path / name, **options)
    stream, expected = FrameStream(path), open_video(path).read(range(60))
    assert len(stream) == 60
    for number in ORDERS[order]:
        np.testing.assert_array_equal(stream.read([number])[0], expected[number])
    np.testing.assert_array_equal(stream.read(ORDERS[order][:10]), expected[ORDERS[order][:10]])


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_frames_are_turned_as_a_player_turns_them(tmp_path, rotation):
    path = encode(tmp_path / "clip.mp4", 5, rotation=rotation)
    stream = FrameStream(path)
    assert stream.size() == open_video(path).size() == ((48, 64) if rotation == 180 else (64, 48))
    shown = []
    player = cv2.VideoCapture(str(path))
    while (answer := player.read())[0]:
        shown.append(answer[1][..., ::-1])
    assert np.abs(stream.read(range(5)).astype(int) - np.stack(shown)).max() < 5


class Counting:
    """A container that counts the frames it decodes."""

    def __init__(self, container):
        self.container, self.decoded = container, 0

    def __getattr__(self, name):
        return getattr(self.container, name)

    def decode(self, stream):
        for frame in self.container.decode(stream):
            self.decoded += 1
            yield frame


def test_reading_one_by_one_decodes_about_as_much_as_one_pass(tmp_path, monkeypatch):
    path, opened = encode(tmp_path / "clip.mp4", 900, gop=250), []

    @contextmanager
    def open_counting(path):
        with open_container(path) as container:
            opened.append(Counting(container))
            yield opened[-1]

    monkeypatch.setattr("lightvid.video.streaming.open_container", open_counting)

    def decoded(read):
        opened.clear()
        read(FrameStream(path))
        return sum(container.decoded for container in opened)

    def windows(stream):
        for number in range(800):
            stream.read([number])
            if number % 10 == 0:
                stream.read([number + 90])
                stream.read([max(number - 20, 0)])

    assert decoded(lambda stream: [stream.read([number]) for number in range(900)]) == 900
    assert decoded(lambda stream: [stream.read(range(start, start + 100)) for start in range(0, 900, 100)]) == 900
    assert decoded(windows) < 3 * 900


def test_several_threads_may_read(tmp_path):
    path = encode(tmp_path / "clip.mp4")
    stream, expected = FrameStream(path), open_video(path).read(range(60))
    with ThreadPoolExecutor(4) as threads:
        for number, frames in zip(range(60), threads.map(lambda number: stream.read([number]), range(60)), strict=True):
            np.testing.assert_array_equal(frames[0], expected[number])


def test_a_closed_stream_opens_again(tmp_path):
    stream = FrameStream(encode(tmp_path / "clip.mp4"))
    before = stream.read([31])
    stream.close()
    np.testing.assert_array_equal(stream.read([31]), before)


def test_times_at_a_constant_rate_are_exact_whatever_the_file_rounds_them_to(tmp_path):
    for name in ("clip.mp4", "clip.mkv", "clip.avi"):
        timing = FrameStream(encode(tmp_path / name, rate=Fraction(30000, 1001))).index.timing()
        assert (timing.rate, timing.time_base, list(timing.times)) == (
            Fraction(30000, 1001),
            Fraction(1001, 30000),
            list(range(60)),
        ), name


def test_a_file_that_is_no_video_is_named(tmp_path):
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(DataError, match=r"text\.mp4: not a video"):
        FrameStream(tmp_path / "text.mp4")


def test_a_matroska_file_is_cut_off_if_it_says_that_there_is_more(tmp_path):
    content = encode(tmp_path / "whole.mkv").read_bytes()
    assert len(open_video(tmp_path / "whole.mkv")) == len(FrameStream(tmp_path / "whole.mkv")) == 60
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    for read in (open_video, FrameStream):
        with pytest.raises(DataError, match=r"cut\.mkv: cut off or damaged: its end is missing, frames are there up"):
            read(tmp_path / "cut.mkv")


def test_an_avi_file_may_have_places_without_a_frame(tmp_path):
    path = encode(tmp_path / "whole.avi", 20, codec="mjpeg")
    with av.open(str(path)) as whole, av.open(str(tmp_path / "dropped.avi"), "w") as dropped:
        stream = dropped.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.size and packet.pts not in (5, 6):
                packet.stream = stream
                dropped.mux(packet)
    stream, kept = FrameStream(tmp_path / "dropped.avi"), [*range(5), *range(7, 20)]
    assert list(stream.index.timing().times) == kept
    np.testing.assert_array_equal(stream.read(range(18)), FrameStream(path).read(kept))
    content = (tmp_path / "dropped.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.avi: cut off or damaged: frame \d+ is the first of its 20"):
        FrameStream(tmp_path / "cut.avi")


def test_a_live_recording_does_not_say_how_long_it_is_and_is_taken_as_it_is(tmp_path):
    content = encode(tmp_path / "live.mkv", live=True).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    assert len(FrameStream(tmp_path / "live.mkv")) == 60
    assert 20 < len(FrameStream(tmp_path / "cut.mkv")) < 60
