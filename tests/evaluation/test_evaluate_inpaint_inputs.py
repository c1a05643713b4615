"""What `lightvid evaluate-inpaint` says of what it cannot evaluate: one line, before the work begins."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lightvid.commands.evaluate_inpaint import run
from lightvid.errors import CheckpointError, ConfigurationError, DataError
from lightvid.evaluation.clips import find_clips
from lightvid.networks.i3d import I3D


def write(folder, count, size=(90, 70)):
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        Image.fromarray(np.full((size[1], size[0], 3), 7 * t, np.uint8)).save(folder / f"{t:05d}.png")


@pytest.fixture
def data(tmp_path):
    for root in ("frames", "masks", "results"):
        for name in ("bus", "dog"):
            write(tmp_path / root / name, 3)
    return tmp_path


def error_of(data, *more, error=DataError, **roots):
    names = {"frames": "frames", "masks": "masks", "results": "results", **roots}
    given = [part for key, name in names.items() if name for part in (f"--{key}", str(data / name))]
    with pytest.raises(error) as caught:
        run([*given, "--size", "native", *more])
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(data), "ROOT")


def test_folders_that_are_missing_or_empty(data):
    (data / "empty").mkdir()
    (data / "empty" / "notes.txt").write_text("")
    assert (
        error_of(data, frames="nothing") == "ROOT/nothing: no such folder (expected one folder or file per video in it)"
    )
    assert error_of(data, masks="empty").startswith("ROOT/empty: no videos in it (expected one folder per video")
    (data / "frames" / "cat").mkdir()
    assert "ROOT/frames/cat: no frames in it" in error_of(data, "--only", "cat", frames="frames", masks="frames")


def test_videos_without_a_partner(data):
    write(data / "frames" / "cat", 3)
    assert error_of(data) == "ROOT/masks: nothing for cat of ROOT/frames: add it, or choose videos by --only"
    write(data / "masks" / "cat", 3)
    assert error_of(data).startswith("ROOT/results: nothing for cat of")
    assert error_of(data, "--only", "cow") == "ROOT/frames: no video cow in it (--only)"


def test_no_name_in_common(data):
    write(data / "other" / "00000", 3)
    message = error_of(data, masks="other")
    assert message.startswith(
        "ROOT/other: no name in common with ROOT/frames (it has 00000, not bus): give --pair sorted"
    )
    assert "masks of 1 videos for the 2 of ROOT/frames" in error_of(data, "--pair", "sorted", masks="other")


def test_two_entries_of_one_name(data):
    (data / "frames" / "dog.mp4").write_bytes(b"")
    assert error_of(data) == "ROOT/frames: dog and dog.mp4 are of one name: keep one of them"


@pytest.mark.parametrize(("root", "thing"), [("masks", "masks"), ("results", "restored frames")])
def test_other_counts_and_sizes(data, root, thing):
    (data / root / "dog" / "00002.png").unlink()
    assert f"ROOT/{root}/dog: 2 {thing} for" in error_of(data)
    shutil.rmtree(data / root / "dog")
    write(data / root / "dog", 3, size=(100, 80))
    message = error_of(data)
    assert f"ROOT/{root}/dog: {thing} of 100x80" in message
    assert "90x70" in message
    assert "--size" in message


def test_frames_smaller_than_the_window_of_ssim(data):
    message = error_of(data, "--size", "64x48", error=ConfigurationError)
    assert (
        "frames of 64x48 are smaller than SSIM's window, 65x65: give a larger --size, or --legacy without ssim"
        in message
    )


def test_an_unreadable_frame(data):
    (data / "frames" / "dog" / "00001.png").write_bytes(b"not an image")
    assert error_of(data) == "ROOT/frames/dog/00001.png: corrupt frame (not a readable image)"


def test_an_unsuitable_network_of_vfid(data):
    tensors = {name.removeprefix("stages."): tensor for name, tensor in I3D().state_dict().items()}
    del tensors["Mixed_4b.b0.conv3d.weight"]
    torch.save(tensors, data / "i3d.pt")
    message = error_of(data, "--i3d", str(data / "i3d.pt"), error=CheckpointError)
    assert message.startswith("ROOT/i3d.pt: does not hold the whole network (without stages.Mixed_4b.b0.conv3d.weight")
    assert "no such checkpoint file" in error_of(data, "--i3d", str(data / "no.pt"), error=CheckpointError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "432"], "expected WIDTHxHEIGHT, such as 432x240, got '432'"),
        (["--legacy", "ssim,psnr"], "no choice 'psnr': all, none, or some of float, ssim, mean, batchnorm, occlusion"),
        (["--dilate", "-1"], "expected a whole number, 0 or more, got '-1'"),
        (["--flow", "flownet2"], "unknown flow 'flownet2': choose dis, spynet=FILE or raft=FILE"),
        (["--checkpoint", "a.ckpt"], "not allowed with argument"),
        (["--device", "gpu9"], "--device gpu9: not to be had here"),
        (["--json", "/proc/x/numbers.json"], "--json /proc/x/numbers.json: cannot be written"),
        (["--csv", "/proc/numbers.csv"], "--csv /proc/numbers.csv: cannot be written"),
        (["--protocol", "default"], "--protocol is for networks: give --checkpoint FILE or --published NAME=FILE"),
        (["--only", "bus,,dog"], "expected names with a comma between them, got 'bus,,dog'"),
    ],
)
def test_mistaken_options(data, options, message):
    assert message in error_of(data, *options, error=ConfigurationError)


def test_a_published_checkpoint_needs_its_name(data):
    message = error_of(data, "--published", "sttn.pth", results=None, error=ConfigurationError)
    assert "expected NAME=FILE" in message
    assert "got 'sttn.pth'" in message


def test_a_runs_checkpoint_is_no_network_of_vfid(data):
    torch.save({"lightvid_config": {"task": {"init_args": {}}}, "state_dict": {}}, data / "best.ckpt")
    message = error_of(data, "--i3d", str(data / "best.ckpt"), error=CheckpointError)
    assert message.startswith("ROOT/best.ckpt: a checkpoint of a run with task=inpaint")


def test_files_for_the_numbers_are_tried_before_the_work_and_left_as_they_were(data):
    (data / "old.csv").write_text("old")
    written = ["--csv", str(data / "old.csv"), "--json", str(data / "new.json")]
    assert "no video cow" in error_of(data, "--only", "cow", *written)
    assert (data / "old.csv").read_text() == "old"
    assert not (data / "new.json").exists()


def test_masks_of_other_frames_are_refused_and_those_without_a_common_name_paired_in_order(data, caplog):
    masks = data / "masks" / "dog"
    (masks / "00000.png").rename(masks / "00003.png")
    assert "ROOT/masks/dog: none for frame 00000" in error_of(data)
    for number in (1, 2, 3):
        (masks / f"{number:05d}.png").rename(masks / f"mask{number}.png")
    with caplog.at_level("INFO", "lightvid"):
        find_clips(data / "frames", data / "masks")
    (note,) = [record.getMessage() for record in caplog.records]
    assert note.startswith("dog: masks: no name in common with the frames (mask1 and 00000)")
