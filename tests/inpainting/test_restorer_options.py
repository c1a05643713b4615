"""What the options of the command make of a checkpoint, and the command with a real network."""

import numpy as np
import pytest
import torch
from media_files import encode, squares, texture, write_images
from small_videos import plain_network

from lightvid.commands.inpaint import run
from lightvid.errors import ConfigurationError
from lightvid.inpainting.network_restorer import NetworkRestorer
from lightvid.inpainting.published import PublishedRestorer
from lightvid.inpainting.regions import RegionRestorer
from lightvid.inpainting.restorers import RestorerOptions, make_restorer
from lightvid.video import VideoWriter, open_video


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Instead of checkpoints: a small network, and what was asked for."""
    calls = []

    def load_generator(name, file):
        calls.append((name, file))
        return plain_network()

    monkeypatch.setattr("lightvid.checkpoints.load_generator", load_generator)
    return calls


def test_a_network_works_around_the_holes_at_its_own_size(loaded):
    restorer = make_restorer(RestorerOptions(published=("fuseformer", "f.pth")))
    make_restorer(RestorerOptions(checkpoint="run.ckpt"))
    assert loaded == [("fuseformer", "f.pth"), (None, "run.ckpt")]
    assert isinstance(restorer, RegionRestorer)
    assert restorer.working_size == (240, 432)
    assert isinstance(restorer.restorer, NetworkRestorer)
    assert make_restorer(RestorerOptions(checkpoint="c", working_size=(120, 216))).working_size == (120, 216)
    assert isinstance(make_restorer(RestorerOptions(checkpoint="c", whole_frame=True)), NetworkRestorer)


def test_windows_are_those_of_the_options():
    options = RestorerOptions(checkpoint="c", window=9, stride=3, references=0, blend="uniform", precision="bf16")
    restorer = make_restorer(options).restorer
    assert (restorer.window, restorer.stride, restorer.max_references) == (9, 3, 0)
    assert (restorer.blend, restorer.precision) == ("uniform", torch.bfloat16)
    defaults, plain = make_restorer(RestorerOptions(checkpoint="c")).restorer, NetworkRestorer(plain_network())
    assert (defaults.window, defaults.stride, defaults.max_references) == (plain.window, plain.stride, 18)
    assert (defaults.blend, defaults.precision) == (plain.blend, None)


def test_the_published_protocol_has_windows_of_its_own():
    restorer = make_restorer(RestorerOptions(checkpoint="c", protocol="published", references=4)).restorer
    assert isinstance(restorer, PublishedRestorer)
    assert (restorer.neighbour_stride, restorer.references) == (5, 4)
    with pytest.raises(ConfigurationError, match="--protocol published: has its own windows"):
        make_restorer(RestorerOptions(checkpoint="c", protocol="published", window=7))


@pytest.mark.parametrize("given", [{"window": 7}, {"propagate_first": True}, {"precision": "fp16"}, {"references": 0}])
def test_options_of_networks_need_one(given):
    flag = next(iter(given)).replace("_", "-")
    with pytest.raises(ConfigurationError, match=f"--{flag}: is for networks"):
        make_restorer(RestorerOptions(**given))


@pytest.mark.parametrize("size", [(48, 64), (120, 160)])
def test_a_network_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch, size):
    """Also where a region is cut out of larger frames."""
    monkeypatch.setattr("lightvid.inpainting.output.SEGMENT", 6)
    frames, masks = texture(20, *size), squares(20, *size)
    source = encode(tmp_path / "clip.mkv", frames, codec="ffv1")
    (tmp_path / "weights.pth").touch()
    network = ["--published", f"sttn={tmp_path / 'weights.pth'}", "--device", "cpu", "--working-size", "64x48"]
    arguments = [str(source), "--masks", str(write_images(tmp_path / "masks", masks)), *network, "--lossless", "-o"]
    run([*arguments, str(tmp_path / "whole.mkv")])

    with monkeypatch.context() as patch:
        write, written = VideoWriter.write, []

        def write_until_interrupted(writer, frame):
            if len(written) == 14:
                raise KeyboardInterrupt
            written.append(frame)
            write(writer, frame)

        patch.setattr(VideoWriter, "write", write_until_interrupted)
        with pytest.raises(SystemExit):
            run([*arguments, str(tmp_path / "out.mkv")])
    run([*arguments, str(tmp_path / "out.mkv"), "--resume"])
    whole, resumed = (open_video(tmp_path / name).read(range(20)) for name in ("whole.mkv", "out.mkv"))
    np.testing.assert_array_equal(resumed, whole)
    known = np.stack([not_near(mask) for mask in masks])
    np.testing.assert_array_equal(resumed[known], frames[known])
    assert (resumed[masks > 0] != frames[masks > 0]).mean() > 0.5


def not_near(mask):
    """Pixels at least 5 rows or columns from a hole."""
    rows, columns = np.nonzero(mask)
    near = np.zeros(mask.shape, bool)
    near[max(rows.min() - 4, 0) : rows.max() + 5, max(columns.min() - 4, 0) : columns.max() + 5] = True
    return ~near
