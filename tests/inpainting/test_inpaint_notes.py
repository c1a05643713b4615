"""What `lightvid inpaint` takes for granted, or does not keep, it says."""

import logging

import cv2
import numpy as np
import pytest
from media_files import HEIGHT, WIDTH, encode, write_images

from lightvid.commands.inpaint import run
from lightvid.video import open_video

pytestmark = pytest.mark.usefixtures("greying")


@pytest.fixture(autouse=True)
def notes(caplog):
    caplog.set_level(logging.INFO, "lightvid")
    return caplog


def command(video, *arguments, out):
    run([str(video), *map(str, arguments), "-o", str(out)])
    video = open_video(out)
    return video.read(range(len(video)))


def test_one_mask_for_all_frames_is_named(tmp_path, clip, masks, mask_folder, notes):
    command(clip, "--masks", write_images(tmp_path / "one", masks[:1]), out=tmp_path / "a")
    assert f"masks: {tmp_path}/one is one, which is for all frames" in notes.text
    command(clip, "--masks", tmp_path / "one/00000.png", out=tmp_path / "d")
    assert f"masks: {tmp_path}/one/00000.png is one, which is for all frames" in notes.text
    notes.clear()
    command(clip, "--masks", mask_folder, out=tmp_path / "b")
    command(clip, "--box", "3,3,9,9", out=tmp_path / "c")
    assert "masks:" not in notes.text


def test_names_without_any_in_common_are_paired_in_order_and_named(tmp_path, frames, clip, masks, notes):
    folder = write_images(tmp_path / "masks", masks, first=100)
    changed = (command(clip, "--masks", folder, "--dilate", 0, out=tmp_path / "out") != frames).any(-1)
    assert not changed[masks == 0].any()
    assert "no name in common with the frames (00100 and 00000), so they are paired in order" in notes.text


def test_names_that_differ_in_leading_zeros_are_equal(tmp_path, clip, masks, notes):
    folder = tmp_path / "masks"
    folder.mkdir()
    for number, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{number}.png"), mask)
    command(clip, "--masks", folder, out=tmp_path / "out")
    assert "masks:" not in notes.text


@pytest.mark.parametrize(("pixels", "note"), [("gray", ["grey: the frames become RGB"]), ("yuv420p", [])])
def test_a_grey_video_becomes_rgb_and_that_is_named(tmp_path, frames, notes, pixels, note):
    source = encode(tmp_path / "clip.mkv", frames, codec="ffv1", pixels=pixels)
    command(source, "--box", "3,3,9,9", out=tmp_path / "out")
    assert [line for line in notes.messages if line.startswith("grey")] == note


@pytest.mark.parametrize(
    ("image", "note"),
    [
        (np.full((HEIGHT, WIDTH, 3), 40000, np.uint16), "depth: 16 bits of a sample become 8"),
        (np.full((HEIGHT, WIDTH, 4), 99, np.uint8), "alpha: transparency is left out"),
        (np.full((HEIGHT, WIDTH), 99, np.uint8), "grey: the frames become RGB"),
        (np.full((HEIGHT, WIDTH, 3), 99, np.uint8), None),
    ],
)
@pytest.mark.parametrize("out", ["out", "out.mp4"])
def test_what_is_not_kept_of_images_is_named(tmp_path, notes, image, note, out):
    (tmp_path / "clip").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"clip/{number}.png"), image)
    command(tmp_path / "clip", "--box", "3,3,9,9", out=tmp_path / out)
    assert [line for line in notes.messages if line.split(":")[0] in ("depth", "alpha", "grey")] == (
        [note] if note else []
    )
