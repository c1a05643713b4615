"""What the pictures and videos of a validation show, and how little of it is in memory."""

import errno
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from pytorch_lightning.trainer.states import TrainerFn

from lightvid.annotations import rle
from lightvid.datamodules import InstanceByteBatch, VideoTruth
from lightvid.tasks.callbacks import SaveOverlays, SavePictures
from lightvid.video import open_video
from lightvid.video.overlays import track_colour

TASK = SimpleNamespace(categories=[(1, "cat")])


def trainer(step=None):
    """In training at this step, or evaluating."""
    return SimpleNamespace(
        is_global_zero=True,
        sanity_checking=False,
        global_step=step or 0,
        state=SimpleNamespace(fn=TrainerFn.VALIDATING if step is None else TrainerFn.FITTING),
        loggers=[],
    )


def video_batch(length, height, width, *, scale=4):
    """A grey video, padded, annotated at `scale` times its size: the left half is a cat, the right half is found."""
    left = np.zeros((height * scale, width * scale), np.uint8)
    left[:, : width * scale // 2] = 1
    annotated, found = ({"category_id": 1, "segmentations": [rle.encode(mask)] * length} for mask in (left, 1 - left))
    truth = VideoTruth(1, "v", height * scale, width * scale, length, [annotated])
    frames = torch.zeros(1, length, height + 4, width + 8, 3, dtype=torch.uint8)
    frames[:, :, :height, :width] = 100
    batch = InstanceByteBatch(frames, torch.tensor([[height, width]]), [], ["v"], ["v"], [], [truth])
    return batch, {"results": [[{**found, "score": 0.9}, {**annotated, "score": 0.1}]]}


def show(callback, given, *batches):
    for index, (batch, outputs) in enumerate(batches):
        callback.on_validation_batch_end(given, TASK, outputs, batch, index)
    callback.on_validation_epoch_end(given, TASK)


def is_tinted(frames):
    colour = 0.55 * 100 + 0.45 * np.array(track_colour(0))
    return np.abs(frames.astype(float) - colour).max(-1) < 25  # what H.264 leaves of it


def test_overlays_have_the_networks_size_with_masks_in_their_place(tmp_path):
    show(SaveOverlays(str(tmp_path), clips=1), trainer(7), video_batch(6, 40, 60))
    assert [path.name for path in sorted(tmp_path.rglob("*.*"))] == ["step_0000007.png", "step_0000007.mp4"]
    frames = open_video(tmp_path / "videos/step_0000007.mp4").read(range(6))
    assert frames.shape == (6, 40, 120, 3)
    halves = [is_tinted(frames[:, 20:, start + 4 : start + 26]).mean() for start in (0, 30, 60, 90)]
    assert halves == [pytest.approx(share, abs=0.1) for share in (0, 1, 1, 0)], "found on the right, truth on the left"
    picture = cv2.imread(str(tmp_path / "pictures/step_0000007.png"))
    assert picture.shape[0] == 2 + 2 * (40 + 2)
    assert picture.shape[1] > 5 * 60


def test_of_a_long_video_only_the_first_frames_are_drawn(tmp_path, monkeypatch):
    drawn = []

    def draw(frame, masks, **options):
        drawn.append(frame.shape)
        return frame

    monkeypatch.setattr("lightvid.tasks.callbacks.overlays.draw_tracks", draw)
    callback = SaveOverlays(str(tmp_path), clips=1, video_frames=9)
    batch, outputs = video_batch(50, 16, 24)
    callback.on_validation_batch_end(trainer(1), TASK, outputs, batch, 0)
    assert drawn == [(16, 24, 3)] * 18
    kept = sum(frames.nbytes for _, frames in callback._rows)
    assert kept == 2 * 5 * 16 * 24 * 3, "of the two rows of the picture, five frames each"
    callback.on_validation_epoch_end(trainer(1), TASK)
    assert len(open_video(tmp_path / "videos/step_0000001.mp4")) == 9


def test_clips_of_other_sizes_fit_into_the_video_of_the_first(tmp_path):
    callback = SaveOverlays(str(tmp_path), clips=3)
    show(callback, trainer(), *(video_batch(2, *size) for size in ((32, 48), (64, 48), (16, 24), (8, 8))))
    assert {path.name for path in tmp_path.rglob("*.*")} == {"final.png", "final.mp4"}
    frames = open_video(tmp_path / "videos/final.mp4").read(range(6))
    assert frames.shape == (6, 32, 96, 3)
    filled = [(frame.max(-1) > 40).mean() for frame in frames[::2]]
    assert filled == [pytest.approx(share, abs=0.06) for share in (1, 1 / 2, 1 / 4)]


def test_every_validation_begins_anew_and_a_failed_one_leaves_no_video(tmp_path):
    callback = SaveOverlays(str(tmp_path), clips=1)
    show(callback, trainer(1), video_batch(2, 16, 24))
    batch, outputs = video_batch(2, 32, 48)
    callback.on_validation_batch_end(trainer(2), TASK, outputs, batch, 0)
    callback.on_exception(trainer(2), TASK, KeyboardInterrupt())
    show(callback, trainer(3), (batch, outputs))
    assert {path.name for path in (tmp_path / "videos").iterdir()} == {"step_0000001.mp4", "step_0000003.mp4"}
    assert open_video(tmp_path / "videos/step_0000003.mp4").read([0]).shape == (1, 32, 96, 3)


def test_restored_clips_stand_beside_the_masked_ones_and_the_truth(tmp_path):
    truth, mask = torch.full((2, 3, 3, 16, 24), 0.5), torch.zeros(2, 3, 1, 16, 24)
    mask[..., 8:, :] = 1
    batch, outputs = SimpleNamespace(frames=truth, masks=mask), {"restored": torch.full_like(truth, -1.0)}
    show(SavePictures(str(tmp_path), clips=5), trainer(), (batch, outputs))
    frames = open_video(tmp_path / "videos/final.mp4").read(range(6))
    assert frames.shape == (6, 16, 72, 3)
    levels = [
        frames[:, part, start + 2 : start + 22].mean() for start in (0, 24, 48) for part in (slice(6), slice(10, 16))
    ]
    assert levels == [pytest.approx(level, abs=6) for level in (191, 128, 0, 0, 191, 191)]
    assert cv2.imread(str(tmp_path / "pictures/final.png")).shape[0] == 2 + 6 * (16 + 2)


def test_a_logger_that_finds_no_room_for_its_copy_costs_a_warning(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lightvid.tasks.callbacks.media._log_media", full)
    callback = SaveOverlays(str(tmp_path), clips=1)
    for step in (1, 2):
        given = SimpleNamespace(**vars(trainer(step)), fit_loop=SimpleNamespace(total_batch_idx=step))
        given.loggers = [None]
        with pytest.warns(UserWarning, match=r"a picture or video cannot be written \(No space left on device\)"):
            show(callback, given, video_batch(2, 16, 24))
    assert len(list(tmp_path.rglob("*.mp4"))) == len(list(tmp_path.rglob("*.png"))) == 2
