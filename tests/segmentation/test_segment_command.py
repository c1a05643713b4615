"""`lightvid segment`, from a video file to the files a user looks at."""

import json
import os
from fractions import Fraction

import av
import numpy as np
import pytest

from lightvid.annotations.results import validate_results
from lightvid.commands.segment import run
from lightvid.errors import ConfigurationError, DataError
from lightvid.video import open_video, write_png, write_video
from lightvid.video.audio import sound_codecs
from lightvid.video.joining import Sound, join_videos
from lightvid.video.timing import FrameIndex, Timing

NAMES = ["ball", "dog", "person"]


@pytest.fixture
def clip(tmp_path, paint):
    frames = paint(14, {0: lambda t: (4, 2 * t), 1: lambda t: (28, 60 - 2 * t) if t < 9 else None})
    write_video(tmp_path / "clip.mp4", frames, 12.5)
    return tmp_path / "clip.mp4"


def test_a_video_file_becomes_an_overlay_and_results(tmp_path, clip, loaded, capsys):
    out = tmp_path / "new" / "out"
    run([str(clip), "-o", str(out), "--checkpoint", "best.ckpt"])
    assert loaded[0][:2] == ("vis", "best.ckpt")
    assert sorted(file.name for file in out.iterdir()) == ["annotations.json", "overlay.mp4", "results.json"]
    results, header = (json.loads((out / f"{name}.json").read_text()) for name in ("results", "annotations"))
    assert validate_results(results, header) == []
    visible = {track["category_id"]: [s is not None for s in track["segmentations"]] for track in results}
    assert visible == {3: [True] * 14, 5: [t < 9 for t in range(14)]}
    assert [category["name"] for category in header["categories"]] == NAMES
    overlay, source = open_video(out / "overlay.mp4"), open_video(clip)
    assert (len(overlay), overlay.size()) == (14, (48, 80))
    changed = np.abs(overlay.read([0, 13]).astype(int) - source.read([0, 13])).max(3) > 60
    assert changed[0, 28:, 60:].any()
    assert not changed[1, 28:, :40].any()  # the second object has left
    assert "14/14 frames" in capsys.readouterr().err


def test_the_overlay_has_the_timing_and_the_sound_of_the_video(tmp_path, clip, loaded):
    with av.open(str(tmp_path / "tone.mp4"), "w") as container:
        picture, tone = container.add_stream("libx264", rate=24), container.add_stream("aac", rate=48000)
        picture.width = picture.height = 16
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode())
        samples = av.AudioFrame.from_ndarray(np.zeros((2, 4096), np.float32), format="fltp", layout="stereo")
        samples.rate = 48000
        container.mux(tone.encode(samples))
        container.mux(tone.encode())
    timing = Timing([*range(0, 520, 40), 1500], Fraction(1, 1000), Fraction(25), last=200)
    join_videos([clip], tmp_path / "varying.mp4", timing=timing, sound=Sound(tmp_path / "tone.mp4"))
    run([str(tmp_path / "varying.mp4"), "-o", str(tmp_path / "out"), "--checkpoint", "x"])
    given, drawn = (FrameIndex.of(tmp_path / name).timing() for name in ("varying.mp4", "out/overlay.mp4"))
    seconds = [[float(time * shown.time_base) for time in [*shown.times, shown.last]] for shown in (given, drawn)]
    assert seconds[0] == pytest.approx([*np.arange(0, 520, 40) / 1000, 1.5, 0.2], abs=2e-3)
    assert seconds[1] == pytest.approx(seconds[0], abs=2e-3)
    assert sound_codecs(tmp_path / "out/overlay.mp4") == ["aac"]


def test_a_folder_of_odd_size_and_one_frame(tmp_path, paint, loaded):
    write_png(tmp_path / "frames/00000.png", paint(1, {2: lambda t: (5, 5)}, height=47, width=81)[0])
    run([str(tmp_path / "frames"), "-o", str(tmp_path / "out"), "--checkpoint", "x", "--names", "a,b,c"])
    (track,) = json.loads((tmp_path / "out/results.json").read_text())
    assert track["segmentations"][0]["size"] == [47, 81]
    assert open_video(tmp_path / "out/overlay.mp4").size() == (48, 82)


def test_options_reach_the_network(tmp_path, clip, loaded):
    run(
        [
            str(clip),
            "-o",
            str(tmp_path / "out"),
            "--published",
            "vistr_r50=r50.pth",
            "--frames",
            "4",
            "--shortest",
            "24",
        ]
    )
    ((name, file, network),) = loaded
    assert (name, file) == ("vistr_r50", "r50.pth")
    assert {shape[1:] for shape in network.calls} == {(4, 3, 24, 40)}
    run([str(clip), "-o", str(tmp_path / "out"), "--checkpoint", "x", "--score", "0.999"])
    assert json.loads((tmp_path / "out/results.json").read_text()) == []


def test_names_come_from_a_dataset_file(tmp_path, clip, loaded):
    categories = [{"id": number, "name": f"n{number}"} for number in (8, 5, 3, 1)]
    (tmp_path / "gt.json").write_text(json.dumps({"videos": [], "categories": categories}))
    run([str(clip), "-o", str(tmp_path / "out"), "--checkpoint", "x", "--names", str(tmp_path / "gt.json")])
    header = json.loads((tmp_path / "out/annotations.json").read_text())
    assert header["categories"] == [{"id": number, "name": f"n{number}"} for number in (3, 5, 8)]


def test_without_a_checkpoint_the_newest_run_is_taken(tmp_path, clip, loaded, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("newest", "old")):
        best = tmp_path / f"runs/vis/{name}/checkpoints/best.ckpt"
        best.parent.mkdir(parents=True)
        best.touch()
        os.utime(best, (1000 - age, 1000 - age))
    with caplog.at_level("INFO"):
        run([str(clip), "-o", "out"])
    assert loaded[0][1] == "runs/vis/newest/checkpoints/best.ckpt"
    assert loaded[0][1] in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: video, -o"),
        (["{clip}", "-o", "out"], "make train TASK=vis"),
        (["{clip}", "-o", "out", "--frames", "0"], "whole number above 0"),
        (["{clip}", "-o", "out", "--score", "high"], "--score: expected a score of 0 to 1, got 'high'"),
        (["{clip}", "-o", "out", "--score", "2"], "--score: expected a score of 0 to 1, got '2'"),
        (["{clip}", "-o", "out", "--checkpoint", "x", "--fps", "30"], "--fps: is for images"),
        (["{clip}", "-o", "out", "--checkpoint", "x", "--published", "y=z"], "not allowed with"),
        (["{clip}", "-o", "out", "--published", "vistr.pth"], "expected NAME=FILE"),
        (["{clip}", "-o", "out", "--checkpoint", "x", "--names", "a,b"], "2 names for the 3 classes"),
        (["{clip}", "-o", "out", "--checkpoint", "x", "--device", "toaster"], "--device toaster"),
        (["{clip}", "-o", "{clip}/out", "--checkpoint", "x"], "cannot be written"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, clip, loaded, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message) as error:
        run([argument.format(clip=clip) for argument in arguments])
    assert "\n" not in str(error.value)


def test_what_is_not_a_video_is_answered_before_anything_is_loaded(tmp_path, loaded):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    for name, message in (("empty", "no frames"), ("text.mp4", "not a video"), ("missing.mp4", "no such video")):
        with pytest.raises(DataError, match=message):
            run([str(tmp_path / name), "-o", str(tmp_path / "out"), "--checkpoint", "x"])
    assert loaded == []
    assert not (tmp_path / "out").exists()


def test_a_video_that_breaks_off_leaves_no_files(tmp_path, paint, loaded):
    for t, frame in enumerate(paint(9, {0: lambda t: (4, t)})):
        write_png(tmp_path / f"frames/{t}.png", frame)
    (tmp_path / "frames/7.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"7\.png"):
        run([str(tmp_path / "frames"), "-o", str(tmp_path / "out"), "--checkpoint", "x"])
    assert list((tmp_path / "out").iterdir()) == []
