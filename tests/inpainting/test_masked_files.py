"""Holes from any kind of mask, and a video with holes that is read in any order."""

import zipfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from media_files import HEIGHT, WIDTH, encode, squares, write_images
from PIL import Image

from lightvid.errors import ConfigurationError
from lightvid.inpainting.source import open_masked_video, survey


def holes(video, masks=None, **options):
    with open_masked_video(video, masks, **{"dilate": 0, **options}) as opened:
        return opened.read_masks(range(len(opened)))


def numbered(folder, count=20):
    """Palette images: object 1 left, 2 in the middle, 7 right."""
    folder.mkdir()
    for number in range(count):
        image = Image.fromarray(np.repeat(np.array([0, 1, 2, 7], np.uint8), WIDTH // 4)[None].repeat(HEIGHT, 0), "P")
        image.putpalette([0, 0, 0, 0, 0, 0, *[200, 100, 50] * 250])  # object 1 is as black as the background
        image.save(folder / f"{number:05d}.png")
    return folder


def test_masks_are_not_zero_where_there_is_a_hole(clip, mask_folder, masks):
    read = holes(clip, mask_folder)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, masks > 0)


def test_palette_images_count_by_their_numbers(tmp_path, clip):
    folder = numbered(tmp_path / "numbers")
    columns = np.repeat([0, 1, 2, 7], WIDTH // 4)
    np.testing.assert_array_equal(holes(clip, folder)[3, 0], columns > 0)
    np.testing.assert_array_equal(holes(clip, folder, instances=[1, 7])[3, 0], np.isin(columns, (1, 7)))


def test_faint_coloured_pixels_are_holes_in_png_and_noise_in_jpeg(tmp_path, clip):
    faint = np.zeros((20, HEIGHT, WIDTH, 3), np.uint8)
    faint[:, :20, :, 2] = 40
    assert holes(clip, write_images(tmp_path / "png", faint))[:, :20].all()
    assert not holes(clip, write_images(tmp_path / "jpg", faint, suffix=".jpg")).any()
    assert not holes(clip, tmp_path / "png", threshold=41).any()
    assert holes(clip, tmp_path / "jpg", threshold=20)[:, 2:18].all()


def test_edges_that_a_codec_blurs_are_cut_at_half(tmp_path, clip, masks):
    read = holes(clip, write_images(tmp_path / "jpg", masks, suffix=".jpg"))
    np.testing.assert_array_equal(read, masks > 0)


def test_one_image_is_the_mask_of_all_frames(tmp_path, clip):
    one = write_images(tmp_path / "one", squares(1))
    for path in (one, one / "00000.png"):
        read = holes(clip, path)
        assert read.shape == (20, HEIGHT, WIDTH)
        assert (read == (squares(1) > 0)).all()


def test_several_boxes_are_holes_together(clip):
    read = holes(clip, boxes=[(0, 0, 3, 2), (10, 20, 5, 5)])
    assert read[:, :2, :3].all()
    assert read[:, 20:25, 10:15].all()
    assert (read.sum((1, 2)) == 6 + 25).all()


def test_holes_grow_after_they_were_inverted(clip):
    read = holes(clip, boxes=[(10, 10, 30, 30)], invert=True, dilate=4)[0]
    known = np.zeros((HEIGHT, WIDTH), bool)
    known[14:36, 14:36] = True
    np.testing.assert_array_equal(read == 0, known)


def test_a_grown_hole_is_a_diamond(clip):
    read = holes(clip, boxes=[(30, 20, 1, 1)], dilate=4)[0]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_array_equal(read > 0, abs(y - 20) + abs(x - 30) <= 4)


def test_either_masks_or_boxes(clip, mask_folder):
    for arguments in ({}, {"masks": mask_folder, "boxes": [(0, 0, 1, 1)]}):
        with pytest.raises(ConfigurationError, match="either masks or boxes"):
            open_masked_video(clip, **arguments)


def test_frames_are_read_in_any_order_and_by_several_threads(tmp_path, frames, mask_folder, masks):
    video = open_masked_video(encode(tmp_path / "clip.mkv", frames, codec="ffv1"), mask_folder, dilate=0)
    assert (len(video), video.size()) == (20, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(video.read([7, 0, 19, 7]), frames[[7, 0, 19, 7]])
    np.testing.assert_array_equal(video.read_masks([7, 0, 19, 7]), masks[[7, 0, 19, 7]] > 0)
    with ThreadPoolExecutor(4) as threads:
        for number, read in zip(range(20), threads.map(lambda number: video.read([number]), range(20)), strict=True):
            np.testing.assert_array_equal(read[0], frames[number])


def test_what_was_read_can_be_changed_without_harm(clip, frames):
    video = open_masked_video(clip, boxes=[(0, 0, 4, 4)])
    for read in (video.read, video.read_masks):
        before = read([3]).copy()
        read([3])[:] = 77
        np.testing.assert_array_equal(read([3]), before)


def test_little_is_kept_in_memory(clip, monkeypatch):
    monkeypatch.setattr("lightvid.inpainting.source.CACHE_BYTES", 3 * HEIGHT * WIDTH * 3)
    video = open_masked_video(clip, boxes=[(0, 0, 4, 4)])
    video.read(range(20))
    assert sum(len(cache._kept) for cache in (video._frame_cache, video._mask_cache)) <= 3


def test_a_zip_is_not_listed_for_each_frame(tmp_path, clip, monkeypatch):
    with zipfile.ZipFile(tmp_path / "clip.zip", "w") as archive:
        for image in clip.iterdir():
            archive.write(image, image.name)
    video, opened, init = open_masked_video(tmp_path / "clip.zip", boxes=[(0, 0, 4, 4)]), [], zipfile.ZipFile.__init__

    def listing(self, *arguments, **options):
        opened.append(arguments)
        init(self, *arguments, **options)

    monkeypatch.setattr(zipfile.ZipFile, "__init__", listing)
    for number in range(20):
        video.read([number])
    assert len(opened) <= 2  # to see that it is one, and to read


def test_a_survey_sees_holes_anywhere(tmp_path, clip):
    masks = np.zeros((20, HEIGHT, WIDTH), np.uint8)
    none = open_masked_video(clip, write_images(tmp_path / "none", masks))
    assert (survey(none).any, survey(none).all) == (False, False)
    masks[18, 3, 3] = 255
    one = open_masked_video(clip, write_images(tmp_path / "one", masks))
    assert (survey(one).any, survey(one).all) == (True, False)
    cv2.imwrite(str(tmp_path / "white.png"), np.full((HEIGHT, WIDTH), 255, np.uint8))
    every = open_masked_video(clip, tmp_path / "white.png")
    assert (survey(every).any, survey(every).all) == (True, True)
