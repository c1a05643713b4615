"""`lightvid inpaint`, from files to files."""

import logging
import re
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import (
    GREY,
    HEIGHT,
    WIDTH,
    encode,
    frame_rate,
    seconds_of,
    sound_lead,
    sound_of,
    squares,
    texture,
    write_images,
)

from lightvid.commands.inpaint import run
from lightvid.inpainting.masks import dilate_masks
from lightvid.video import open_video

pytestmark = pytest.mark.usefixtures("greying")


@pytest.fixture(autouse=True)
def notes(caplog):
    caplog.set_level(logging.INFO, "lightvid")
    return caplog


def read(path):
    video = open_video(path)
    return video.read(range(len(video)))


def command(video, *arguments, out):
    run([str(video), *map(str, arguments), "-o", str(out)])
    return read(out)


def test_a_folder_becomes_a_folder_of_the_same_names(tmp_path, frames, masks, clip, mask_folder, capsys):
    result = command(clip, "--masks", mask_folder, out=tmp_path / "new/out")
    holes = dilate_masks((masks > 0).astype(np.uint8), 4) > 0
    np.testing.assert_array_equal(result[~holes], frames[~holes])
    assert (result[holes] == GREY).all()
    assert open_video(tmp_path / "new/out").frame_names == [f"{number:05d}.png" for number in range(len(frames))]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    said = capsys.readouterr()
    assert "20 frames" in said.out
    assert said.err.count("\n") == 1
    assert re.search(r"20/20 frames, [\d.]+ frames/s$", said.err.strip())


def test_a_terminal_sees_how_long_it_will_take(tmp_path, clip, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    command(clip, "--box", "3,3,9,9", out=tmp_path / "out")
    first, *_, last = capsys.readouterr().err.strip().split("\r")
    assert re.search(r"^1/20 frames, [\d.]+ frames/s, \d+ s left$", first.strip())
    assert re.search(r"^20/20 frames, [\d.]+ frames/s$", last)


def test_known_pixels_survive_bit_for_bit_in_a_lossless_video(tmp_path, frames, masks, mask_folder):
    source = encode(tmp_path / "clip.mp4", frames, Fraction(30000, 1001))
    result = command(source, "--masks", mask_folder, "--dilate", 0, "--lossless", out=tmp_path / "out.mkv")
    np.testing.assert_array_equal(result[masks == 0], read(source)[masks == 0])
    assert (result[masks > 0] == GREY).all()
    assert frame_rate(tmp_path / "out.mkv") == Fraction(30000, 1001)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rate_sound_and_shape_of_pixels_are_those_of_the_source(tmp_path, frames, mask_folder, suffix):
    source = encode(tmp_path / "clip.mp4", frames, Fraction(30000, 1001), sound="aac", aspect=Fraction(4, 3))
    out = tmp_path / f"out{suffix}"
    result = command(source, "--masks", mask_folder, out=out)
    assert result.shape == frames.shape
    assert frame_rate(out) == Fraction(30000, 1001)
    assert sound_of(out) == sound_of(source) != []
    # .mkv counts milliseconds, from the sound's beginning, which comes before the first frame.
    np.testing.assert_allclose(np.diff(seconds_of(out)), np.diff(seconds_of(source)), atol=1.1e-3)
    np.testing.assert_allclose(sound_lead(out), sound_lead(source), atol=1.1e-3)
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize("matrix", [0, 1, 5])
def test_colours_are_those_of_the_source(tmp_path, matrix):
    colours = np.array([(200, 30, 40), (20, 180, 60), (40, 40, 220), (230, 220, 30)])
    frames = np.broadcast_to(colours[:, None, None], (4, HEIGHT, WIDTH, 3)).astype(np.uint8)
    source = encode(tmp_path / "clip.mp4", frames, matrix=matrix)
    result = command(source, "--box", "0,0,2,2", out=tmp_path / "out.mp4")
    assert np.abs(result.astype(int) - frames)[:, 16:, 16:].max() < 8
    with av.open(str(source)) as first, av.open(str(tmp_path / "out.mp4")) as second:
        assert [c.streams.video[0].codec_context.colorspace for c in (first, second)] == [matrix or 2] * 2


def test_a_varying_frame_rate_is_kept(tmp_path, frames):
    times = np.cumsum([0, *([40] * 8), 500, *([20] * 10)]).tolist()
    source = encode(tmp_path / "clip.mp4", frames, times=times)
    command(source, "--box", "3,3,9,9", out=tmp_path / "out.mp4")
    np.testing.assert_allclose(seconds_of(tmp_path / "out.mp4"), np.array(times) / 1000, atol=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_is_shown_as_long_as_in_the_source(tmp_path, frames, suffix):
    source = encode(tmp_path / "slides.mp4", frames[:4], times=[0, 3000, 3500, 4000], last=40)
    command(source, "--box", "3,3,9,9", out=tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert container.duration / 1e6 == pytest.approx(4.04, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_before_the_first_frame_is_kept(tmp_path, frames, suffix):
    source = encode(tmp_path / "clip.mp4", frames, times=[510 + 40 * number for number in range(20)], sound="aac")
    out = tmp_path / f"out{suffix}"
    command(source, "--box", "3,3,9,9", out=out)
    assert sound_of(out) == sound_of(source)
    assert sound_lead(source) > 0.5
    assert sound_lead(out) == pytest.approx(sound_lead(source), abs=2e-3)
    with av.open(str(out)) as container:  # what lies before 0 is not played
        assert container.streams.video[0].start_time * container.streams.video[0].time_base >= 0.5


def test_a_turned_video_is_restored_as_it_is_shown(tmp_path, frames):
    source = encode(tmp_path / "clip.mp4", frames, rotation=90)
    result = command(source, "--box", f"0,{WIDTH - 8},8,8", "--dilate", 0, out=tmp_path / "out.mp4")
    assert result.shape == (len(frames), WIDTH, HEIGHT, 3)
    assert np.abs(result[:, -6:, :6].astype(int) - GREY).max() < 30
    assert np.abs(result[:, :48].astype(int) - read(source)[:, :48]).mean() < 8


def test_sound_that_the_container_cannot_hold_is_named(tmp_path, frames, notes):
    source = encode(tmp_path / "clip.mkv", frames, sound="pcm_u8")
    assert len(command(source, "--box", "3,3,9,9", out=tmp_path / "out.mp4")) == len(frames)
    assert "pcm_u8 does not go into .mp4" in notes.text
    command(source, "--box", "3,3,9,9", out=tmp_path / "out.mkv")
    assert sound_of(tmp_path / "out.mkv") == sound_of(source) != []


def test_sound_whose_channels_have_no_names_goes_into_any_container(tmp_path, frames, notes):
    source = encode(tmp_path / "clip.mkv", frames, sound="pcm_s16le", layout="stereo")
    for suffix in (".mp4", ".mov", ".mkv"):
        out = tmp_path / f"out{suffix}"
        command(source, "--box", "3,3,9,9", out=out)
        assert b"".join(sound_of(out)) == b"".join(sound_of(source)) != b""
    assert "sound" not in notes.text


def test_sound_that_is_refused_at_the_end_is_left_out_and_named(tmp_path, frames, notes, monkeypatch):
    def broken(*_, **__):
        raise av.ArgumentError(22, "Invalid argument")

    source = encode(tmp_path / "clip.mp4", frames, sound="aac")
    monkeypatch.setattr("lightvid.video.joining.copied_packets", broken)
    assert len(command(source, "--box", "3,3,9,9", out=tmp_path / "out.mp4")) == len(frames)
    assert "sound: aac does not go into .mp4, so it is left out" in notes.text


def test_an_odd_size_stays_in_lossless_output_and_is_named_elsewhere(tmp_path, notes):
    frames = texture(3, 47, 63)
    clip = write_images(tmp_path / "clip", frames)
    kept = command(clip, "--box", "3,3,9,9", "--lossless", out=tmp_path / "out.mkv")
    np.testing.assert_array_equal(kept[:, 20:], frames[:, 20:])
    assert "size" not in notes.text
    padded = command(clip, "--box", "3,3,9,9", out=tmp_path / "out.mp4")
    assert padded.shape == (3, 48, 64, 3)
    assert "size: 63x47 becomes 64x48" in notes.text


@pytest.mark.parametrize(("given", "expected"), [((), 24), (("--fps", "30000/1001"), Fraction(30000, 1001))])
def test_images_get_the_rate_that_is_given(tmp_path, clip, given, expected):
    command(clip, "--box", "3,3,9,9", *given, out=tmp_path / "out.mp4")
    assert frame_rate(tmp_path / "out.mp4") == expected


def test_a_video_of_one_frame(tmp_path):
    source = encode(tmp_path / "clip.mp4", texture(1))
    result = command(source, "--box", "10,10,8,8", out=tmp_path / "out.mp4")
    assert len(result) == 1
    assert np.abs(result[0, 10:18, 10:18].astype(int) - GREY).max() < 20


def test_zips_are_read_as_folders(tmp_path, frames, clip, mask_folder):
    for folder in (clip, mask_folder):
        with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
            for file in folder.iterdir():
                archive.write(file, f"inside/{file.name}")
    zipped = command(clip.with_suffix(".zip"), "--masks", mask_folder.with_suffix(".zip"), out=tmp_path / "a")
    np.testing.assert_array_equal(zipped, command(clip, "--masks", mask_folder, out=tmp_path / "b"))


def test_without_holes_the_frames_stay_as_they_are(tmp_path, frames, clip, notes, greying):
    black = write_images(tmp_path / "black", np.zeros((1, HEIGHT, WIDTH), np.uint8))
    np.testing.assert_array_equal(command(clip, "--masks", black, out=tmp_path / "out"), frames)
    assert "holes: there are none" in notes.text
    assert greying.starts == []


def test_a_frame_that_is_all_hole_is_left_to_the_restorer(tmp_path, clip, masks):
    masks[7] = 255
    folder = write_images(tmp_path / "masks", masks)
    assert (command(clip, "--masks", folder, out=tmp_path / "out")[7] == GREY).all()


def test_a_frame_of_4k(tmp_path):
    clip = write_images(tmp_path / "clip", texture(2, 2160, 3840), suffix=".jpg")
    result = command(clip, "--box", "3000,2000,80,60", out=tmp_path / "out")
    assert result.shape == (2, 2160, 3840, 3)
    assert (result[:, 2000:2060, 3000:3080] == GREY).all()


def test_an_output_is_replaced_on_request_alone(tmp_path, frames, clip):
    for out in (tmp_path / "out", tmp_path / "out.mp4"):
        before = command(clip, "--box", "0,0,4,4", out=out)
        with pytest.raises(Exception, match="exists already"):
            command(clip, "--box", "20,20,20,20", out=out)
        np.testing.assert_array_equal(read(out), before)
        after = command(clip, "--box", "20,20,20,20", "--overwrite", out=out)
        assert np.abs(after[:, 25:35, 25:35].astype(int) - GREY).max() < 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip", "out", "out.mp4"]


def test_options_describe_the_restorer(tmp_path, clip, greying):
    weights = tmp_path / "weights.pth"
    weights.touch()
    network = ["--published", f"e2fgvi_hq={weights}", "--window", 9, "--stride", 4, "--references", 0]
    more = ["--blend", "uniform", "--precision", "bf16", "--working-size", "216x120", "--propagate-first"]
    command(clip, "--box", "3,3,9,9", *network, *more, "--device", "cpu", out=tmp_path / "a")
    options = greying.options
    assert options.published == ("e2fgvi_hq", weights)
    assert (options.window, options.stride, options.references, options.blend) == (9, 4, 0, "uniform")
    assert (options.precision, options.working_size, options.propagate_first) == ("bf16", (120, 216), True)
    command(clip, "--box", "3,3,9,9", "--checkpoint", weights, "--protocol", "published", out=tmp_path / "b")
    assert (greying.options.checkpoint, greying.options.protocol) == (weights, "published")


def test_real_annotations_by_object(tmp_path):
    root = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
    if not root.is_dir():
        pytest.skip("needs the real clips beside the repository")
    masks = root / "davis/Annotations/480p/dogs-jump"
    source = root / "videos/dogs-jump.mp4"
    result = command(source, "--masks", masks, "--instance", "1,3", "--dilate", 0, "--lossless", out=tmp_path / "o.mkv")
    numbers = open_video(masks).read_masks(range(66))
    holes = (numbers == 1) | (numbers == 3)
    assert holes.any()
    assert (numbers == 2).any()
    np.testing.assert_array_equal(result[~holes], read(source)[~holes])
    assert (result[holes] == GREY).all()


def test_masks_may_be_a_video(tmp_path, frames, clip, masks):
    video = encode(tmp_path / "masks.mp4", np.repeat(masks[..., None], 3, axis=-1))
    result = command(clip, "--masks", video, "--dilate", 0, out=tmp_path / "out")
    inside = np.stack([mask > 0 for mask in squares(len(frames))])
    changed = (result != frames).any(-1)
    assert (changed[inside]).mean() > 0.9
    assert (changed[~inside]).mean() < 0.02
