"""Masks that do not suit a video, or options that do not suit the masks, are answered in one line."""

import cv2
import numpy as np
from media_files import HEIGHT, WIDTH, squares, write_images

BOX = ("--box", "8,8,20,20")


def test_missing_masks(refused, tmp_path, clip):
    assert "gone: no such masks" in refused(clip, "--masks", tmp_path / "gone")
    assert "--masks --box is required" in refused(clip)


def test_too_few_masks(refused, tmp_path, clip):
    message = refused(clip, "--masks", write_images(tmp_path / "m", squares(18)))
    assert "m: 18 masks for 20 frames, none for frame 00018" in message
    message = refused(clip, "--masks", write_images(tmp_path / "n", squares(18), first=100))
    assert "n: 18 masks for 20 frames (expected one for each, or one image for all)" in message


def test_too_many_masks(refused, tmp_path, clip):
    assert "21 masks for 20 frames" in refused(clip, "--masks", write_images(tmp_path / "m", squares(21)))


def test_sparse_annotations(refused, tmp_path, clip):
    message = refused(clip, "--masks", write_images(tmp_path / "m", squares(4), step=5))
    assert "4 masks for 20 frames, of every 5th frame" in message

    message = refused(clip, "--masks", write_images(tmp_path / "n", squares(10), step=2))
    assert "of every 2nd frame" in message


def test_masks_of_which_only_some_have_names_of_frames(refused, tmp_path, clip):
    message = refused(clip, "--masks", write_images(tmp_path / "m", squares(20), first=1))
    assert "m: none for frame 00000" in message


def test_masks_of_another_size(refused, tmp_path, clip, mask_folder):
    message = refused(clip, "--masks", write_images(tmp_path / "m", squares(20, 96, 128)))
    assert "m: 128x96 pixels for a video of 64x48" in message
    cv2.imwrite(str(mask_folder / "00009.png"), np.zeros((9, 9), np.uint8))
    assert "masks: mask 00009: 9x9 pixels for a video of 64x48" in refused(clip, "--masks", mask_folder)


def test_a_broken_mask(refused, clip, mask_folder):
    (mask_folder / "00009.png").write_bytes(b"")
    assert "00009.png: corrupt mask" in refused(clip, "--masks", mask_folder)


def test_numbers_of_objects_in_lossy_masks(refused, tmp_path, clip):
    masks = write_images(tmp_path / "m", squares(20), suffix=".jpg")
    assert "numbers of objects need PNG masks" in refused(clip, "--masks", masks, "--instance", "1")


def test_numbers_of_objects_in_coloured_masks(refused, tmp_path, clip):
    masks = write_images(tmp_path / "m", np.repeat(squares(20)[..., None], 3, axis=-1))
    assert "m: numbers of objects need palette or grey PNG masks" in refused(clip, "--masks", masks, "--instance", "1")


def test_objects_that_no_mask_has(refused, tmp_path, clip):
    numbers = squares(20, value=3)
    numbers[15:, 40:, :] = 7
    masks = write_images(tmp_path / "m", numbers)
    message = refused(clip, "--masks", masks, "--instance", "7,9,8")
    assert "m: no mask has object 8, 9 (in them: 3, 7; choose of these)" in message


def test_options_of_masks_that_do_not_go_together(refused, clip, mask_folder):
    assert "either some objects" in refused(clip, "--masks", mask_folder, "--instance", "1", "--threshold", "9")
    for option in ("--instance", "--threshold"):
        assert "boxes: instances and threshold are of masks" in refused(clip, *BOX, option, "1")


def test_holes_everywhere(refused, tmp_path, clip):
    white = write_images(tmp_path / "white", np.full((1, HEIGHT, WIDTH), 255, np.uint8))
    assert "they cover every frame whole" in refused(clip, "--masks", white)
    assert "they cover every frame whole" in refused(clip, "--box", f"0,0,{WIDTH},{HEIGHT}")
