"""What is wrong with a video, its masks, a box or OUT is said in one line, and nothing is left behind."""

import subprocess

import av
import cv2
import numpy as np
import pytest
import torch
from media_files import HEIGHT, WIDTH, encode, texture

from lightvid.commands.inpaint import run
from lightvid.errors import LightvidError

BOX = ("--box", "8,8,20,20")


def faststart(source, target):
    """The same file with its index in front, as it is sent over a network."""
    with av.open(str(source)) as old, av.open(str(target), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def test_a_missing_video(refused, tmp_path):
    assert "gone.mp4: no such video" in refused(tmp_path / "gone.mp4", *BOX)


def test_a_file_that_is_no_video(refused, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4: not a video" in refused(tmp_path / "text.mp4", *BOX)


def test_a_picture_that_is_cut_off_under_the_name_of_a_video(refused, tmp_path):
    content = cv2.imencode(".png", texture(1)[0])[1].tobytes()
    (tmp_path / "picture.mp4").write_bytes(content[: len(content) // 2])
    assert "picture.mp4: corrupt frame 0" in refused(tmp_path / "picture.mp4", *BOX)


def test_a_file_without_a_picture_track(refused, tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "song.mp4: not a video (no picture track in it)" in refused(tmp_path / "song.mp4", *BOX)


def test_a_video_without_frames(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: no frames in it" in refused(tmp_path / "empty", *BOX)
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4: not a video" in refused(tmp_path / "empty.mp4", *BOX)


def test_a_file_that_is_cut_off_names_the_first_frame_that_is_gone(refused, tmp_path):
    whole = faststart(encode(tmp_path / "whole.mp4", texture(60)), tmp_path / "fast.mp4")
    content = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * 0.6)])
    message = refused(tmp_path / "cut.mp4", *BOX)
    first = int(message.split("frame ")[1].split()[0])
    assert "the first of its 60 that cannot be decoded" in message
    # The same frames, read without the command: the decoder gives what comes before the cut, a few of them too late.
    decoded = set()
    with av.open(str(tmp_path / "cut.mp4")) as container:
        try:
            for frame in container.decode(video=0):
                decoded.add(round(frame.pts * frame.time_base * 24))
        except av.FFmpegError:
            pass
    assert set(range(first - 4)) <= decoded
    assert first not in decoded


@pytest.mark.parametrize(("name", "codec"), [("whole.mkv", "libx264"), ("whole.webm", "libvpx-vp9")])
def test_a_matroska_file_that_is_cut_off_is_refused(refused, tmp_path, frames, name, codec):
    content = encode(tmp_path / name, frames, codec=codec).read_bytes()
    cut = tmp_path / f"cut{(tmp_path / name).suffix}"
    for kept in (0.6, 0.9):
        cut.write_bytes(content[: int(len(content) * kept)])
        message = refused(cut, *BOX)
        assert f"{cut.name}: cut off or damaged: its end is missing, frames are there up to" in message
    assert int(message.split("up to ")[1].split()[0]) < len(frames) - 1


def test_a_file_whose_index_is_gone(refused, tmp_path, frames):
    content = encode(tmp_path / "whole.mp4", frames).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    assert "cut.mp4: not a video, or cut off: its index is missing" in refused(tmp_path / "cut.mp4", *BOX)


def test_a_frame_that_cannot_be_decoded_is_named(refused, tmp_path, frames, clip):
    (clip / "00007.png").write_bytes(b"no picture")
    assert "00007.png: corrupt frame" in refused(clip, *BOX)
    source = encode(tmp_path / "clip.mkv", frames, codec="ffv1")
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    place = content.find(packets[7])
    content[place : place + len(packets[7])] = bytes([255]) * len(packets[7])
    source.write_bytes(content)
    assert "clip.mkv: corrupt frame 7" in refused(source, *BOX)


def test_memory_that_is_too_small(refused, clip, greying):
    def use_up(index):
        torch.empty(2**55)

    greying.before = use_up
    assert "out of memory (take a smaller --working-size" in refused(clip, *BOX)


def test_an_error_that_is_not_about_memory_is_no_mistake_of_the_user(refused, tmp_path, clip, greying):
    def fail(index):
        raise RuntimeError("size of tensor a must match")

    greying.before = fail
    with pytest.raises(RuntimeError, match="size of tensor a"):
        run([str(clip), *BOX, "-o", str(tmp_path / "out.mp4")])


def test_a_frame_of_another_size(refused, clip):
    cv2.imwrite(str(clip / "00007.png"), np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8))
    assert "frame 00007.png: 66x48 pixels for a video of 64x48" in refused(clip, *BOX)


@pytest.mark.parametrize("box", ["60,8,20,20", "8,40,20,20", "8,8,0,20", "-2,8,9,9"])
def test_a_box_outside_the_frame(refused, clip, box):
    assert f"box {box}: not inside the frame of 64x48" in refused(clip, f"--box={box}")


@pytest.mark.parametrize(
    ("option", "named"),
    [
        (["--box", "1,2,3"], "expected x,y,width,height"),
        (["--fps", "0"], "expected frames per second"),
        (["--published", "sttn"], "expected NAME=FILE"),
        (["--working-size", "240"], "expected WIDTHxHEIGHT"),
        (["--working-size", "0x5"], "expected WIDTHxHEIGHT"),
        (["--published", "e2fgvi_hq="], "expected NAME=FILE"),
        (["--threshold", "256"], "expected a brightness of 1 to 255"),
        (["--dilate", "-1"], "expected"),
        (["--instance", "a"], "expected a whole number"),
    ],
)
def test_options_that_cannot_be(refused, clip, option, named):
    box = [] if option[0] == "--box" else BOX
    assert named in refused(clip, *box, *option)


@pytest.mark.parametrize(
    ("arguments", "unknown", "meant"),
    [
        (["--maks", "masks"], "--maks", "--masks"),
        (["--mask=masks"], "--mask", "--masks"),
        ([*BOX, "--loseless"], "--loseless", "--lossless"),
    ],
)
def test_an_unknown_option_is_named_with_the_nearest_one(refused, clip, arguments, unknown, meant):
    assert f"unrecognized arguments: {unknown}: did you mean '{meant}'?" in refused(clip, *arguments)


def test_a_value_may_begin_with_a_minus_sign(refused, clip):
    assert "box -20,20,50,50: not inside the frame" in refused(clip, "--box", "-20,20,50,50")
    assert "expected a whole number, 0 or more, got '-1'" in refused(clip, *BOX, "--dilate", "-1")


def test_a_rate_for_a_video_that_has_one(refused, tmp_path, frames):
    assert "has its own rate" in refused(encode(tmp_path / "clip.mp4", frames), *BOX, "--fps", "25")


def test_a_rate_for_a_folder(refused, clip):
    assert "--fps: is for videos" in refused(clip, *BOX, "--fps", "25", out="out")


@pytest.mark.parametrize("name", [".", "..", "/"])
def test_an_out_without_a_name(tmp_path, clip, monkeypatch, name):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(LightvidError, match=r"has no name of its own"):
        run([str(clip), *BOX, "-o", name])


def test_a_missing_checkpoint(refused, tmp_path, clip):
    assert "gone.ckpt: cannot be read" in refused(clip, *BOX, "--checkpoint", tmp_path / "gone.ckpt")


@pytest.mark.parametrize(("out", "named"), [("out.webm", "expected .mp4, .mov, .mkv"), ("a.v2", "name without suffix")])
def test_an_out_of_an_unknown_kind(refused, clip, out, named):
    assert named in refused(clip, *BOX, out=out)


def test_lossless_in_a_container_without_it(refused, clip):
    assert "--lossless goes into an .mkv" in refused(clip, *BOX, "--lossless")


@pytest.mark.parametrize("out", ["clip/out", "clip/out.mp4", "masks/out", "."])
def test_an_out_among_the_sources(refused, clip, mask_folder, out):
    assert "must neither lie in" in refused(clip, "--masks", mask_folder, "--overwrite", out=out, kept=out == ".")


def test_an_out_that_is_the_source(refused, tmp_path, frames):
    source = encode(tmp_path / "clip.mp4", frames)
    before = source.read_bytes()
    refused(source, *BOX, "--overwrite", out="clip.mp4", kept=True)
    assert source.read_bytes() == before


def test_a_folder_with_other_files_is_never_replaced(refused, tmp_path, clip):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter.txt").write_text("dear")
    assert "such as letter.txt" in refused(clip, *BOX, "--overwrite", out="home", kept=True)
    (tmp_path / "home.mp4").mkdir()
    assert "home.mp4: is a folder" in refused(clip, *BOX, "--overwrite", out="home.mp4", kept=True)
    assert (tmp_path / "home/letter.txt").read_text() == "dear"


def test_a_read_only_place(refused, tmp_path, clip):
    place = tmp_path / "place"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(place)], capture_output=True, check=False
    ).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        assert "place/out: cannot be written (Read-only file system)" in refused(clip, *BOX, out="place/out")
    finally:
        subprocess.run(["umount", str(place)], check=True)
