"""`lightvid evaluate-inpaint`: the numbers of clips whose true frames are known."""

import csv
import json
import shutil
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import lightvid.propagation
from lightvid.checkpoints.building import build
from lightvid.commands.evaluate_inpaint import run
from lightvid.errors import CheckpointError
from lightvid.evaluation.clips import find_clips
from lightvid.evaluation.measuring import Evaluation, Rules
from lightvid.inpainting.published import PublishedRestorer
from lightvid.metrics import VideoQuality, flow_estimator, frechet_distance
from lightvid.networks.i3d import I3D
from lightvid.video import write_video

LENGTHS = {"bus": 6, "dog": 3}
HEIGHT, WIDTH = 72, 96


class Grey:
    """Leaves what it is given, and remembers it."""

    seen: list = []  # noqa: RUF012

    def restore(self, video, *, start=0):
        for index in range(start, len(video)):
            (frame,) = video.read([index])
            self.seen.append((frame, video.read_masks([index])[0]))
            yield frame


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two clips, with masks of each frame and of all."""
    monkeypatch.setattr(lightvid.propagation, "PropagationRestorer", Grey, raising=False)
    monkeypatch.setattr(Grey, "seen", [])
    rng = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        (tmp_path / "frames" / name).mkdir(parents=True)
        (tmp_path / "masks" / name).mkdir(parents=True)
        small = rng.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        for t in range(length):
            frame = np.roll(cv2.resize(small, (WIDTH, HEIGHT)), 2 * t, axis=1)
            Image.fromarray(frame).save(tmp_path / "frames" / name / f"{t:05d}.png")
        for t in range(length if name == "bus" else 1):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[30:40, 40 + t : 50 + t] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / name / f"{t:05d}.png")
    return tmp_path


def evaluate(data, *more, masks="masks"):
    """The JSON file of a call."""
    arguments = ["--frames", str(data / "frames"), "--masks", str(data / masks), "--size", "native"]
    run([*arguments, "--json", str(data / "out" / "numbers.json"), *more])
    return json.loads((data / "out" / "numbers.json").read_text())


def truth_of(data, name):
    files = sorted((data / "frames" / name).iterdir())
    return np.stack([np.asarray(Image.open(file)) for file in files])


def write_results(data, change):
    """Results of another program: the true frames, changed."""
    for name in LENGTHS:
        (data / "mine" / name).mkdir(parents=True)
        for t, frame in enumerate(truth_of(data, name)):
            Image.fromarray(change(frame)).save(data / "mine" / name / f"r{t}.png")


def test_results_of_any_program_get_a_table_json_and_csv(data, capsys):
    write_results(data, lambda frame: np.where(frame >= 128, frame - 2, frame + 2).astype(np.uint8))
    numbers = evaluate(data, "--results", str(data / "mine"), "--csv", str(data / "out" / "numbers.csv"))
    scores = numbers["methods"]["mine"]
    assert {name: scores["videos"][name]["frames"] for name in LENGTHS} == LENGTHS
    for row in (scores["mean"], *scores["videos"].values()):
        assert row["psnr"] == pytest.approx(20 * np.log10(255 / 2))
        assert row["hole_psnr"] == pytest.approx(row["psnr"])
        assert 0.9 < row["ssim"] < 1
        assert row["e_warp_dis"] > 0
    assert numbers["settings"]["size"] == "native"
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("bus", "dog", "mean", "hole PSNR", "flow: dis", "42.11"))
    rows = list(csv.DictReader((data / "out" / "numbers.csv").open()))
    assert [row["video"] for row in rows] == ["bus", "dog", "mean"]
    assert float(rows[2]["psnr"]) == scores["mean"]["psnr"]


def test_restorers_never_see_what_is_in_the_holes_which_are_widened_by_4_pixels(data):
    numbers = evaluate(data, "--only", "bus")
    assert set(numbers["methods"]) == {"propagation"}
    assert len(Grey.seen) == 6
    for t, ((frame, mask), truth) in enumerate(zip(Grey.seen, truth_of(data, "bus"), strict=True)):
        rows, columns = np.nonzero(mask)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (26, 43, 36 + t, 53 + t)
        assert not mask[26, 36 + t]  # a diamond, not a square
        assert (frame[mask > 0] == 128).all()
        assert (frame[mask == 0] == truth[mask == 0]).all()


def test_without_a_checkpoint_the_numbers_are_those_of_the_library(data):
    scores = evaluate(data)["methods"]["propagation"]
    for clip in find_clips(data / "frames", data / "masks"):
        everything = range(len(clip))
        quality = VideoQuality()
        quality.update(clip.read(everything), truth := clip.read_truth(everything), clip.read_masks(everything))
        assert quality.compute()["psnr"] == pytest.approx(scores["videos"][clip.name]["psnr"])
        assert (truth == truth_of(data, clip.name)).all()


def test_frames_are_resized_as_published_and_masks_to_the_nearest(data):
    for clip in find_clips(data / "frames", data / "masks", size=(48, 64), dilate=0):
        frames, masks = clip.read_truth([1]), clip.read_masks([1])
        original = Image.open(data / "frames" / clip.name / "00001.png")
        assert (frames[0] == np.asarray(original.resize((64, 48), Image.Resampling.BICUBIC))).all()
        assert masks.shape == (1, 48, 64)
        assert set(np.unique(masks)) == {0, 1}


def test_baselines_stand_beside_the_results(data, capsys):
    numbers = evaluate(data, "--baselines")
    assert list(numbers["methods"]) == ["propagation", "mean colour", "nearest visible frame", "cv2.inpaint (Telea)"]
    means = {name: scores["mean"]["hole_psnr"] for name, scores in numbers["methods"].items()}
    assert means["cv2.inpaint (Telea)"] > means["propagation"]
    assert "mean, nearest visible frame" in capsys.readouterr().out


def test_legacy_choices_change_the_definitions_that_they_name(data):
    write_results(data, lambda frame: np.clip(frame.astype(int) + 9, 0, 255).astype(np.uint8))
    results = ["--results", str(data / "mine")]
    papers, corrected = evaluate(data, *results), evaluate(data, *results, "--legacy", "none")
    mean_alone = evaluate(data, *results, "--legacy", "ssim,occlusion")
    psnr = {name: papers["methods"]["mine"]["videos"][name]["psnr"] for name in LENGTHS}
    of = {key: value["methods"]["mine"]["mean"] for key, value in locals().items() if key in ("papers", "corrected")}
    assert of["papers"]["psnr"] == pytest.approx((6 * psnr["bus"] + 3 * psnr["dog"]) / 9)
    assert of["corrected"]["psnr"] == pytest.approx((psnr["bus"] + psnr["dog"]) / 2)
    assert of["papers"]["ssim"] != pytest.approx(of["corrected"]["ssim"], abs=1e-3)
    assert mean_alone["methods"]["mine"]["videos"] == papers["methods"]["mine"]["videos"]
    assert mean_alone["methods"]["mine"]["mean"]["psnr"] == of["corrected"]["psnr"]
    assert mean_alone["settings"]["legacy"] == ["occlusion", "ssim"]


def test_vfid_is_the_distance_of_i3d_features_and_left_out_without_its_file(data, caplog):
    torch.manual_seed(0)
    network = I3D(batch_statistics=True)
    tensors = {name.removeprefix("stages."): tensor for name, tensor in network.state_dict().items()}
    torch.save(tensors, data / "i3d.pt")
    write_results(data, lambda frame: 255 - frame)
    results = ["--results", str(data / "mine")]
    features = []
    for invert in (False, True):
        clips = [torch.from_numpy(truth_of(data, name)).permute(0, 3, 1, 2)[None] for name in LENGTHS]
        with torch.no_grad():
            features.append(torch.cat([network((255 - clip if invert else clip).float() / 255) for clip in clips]))
    numbers = evaluate(data, *results, "--i3d", str(data / "i3d.pt"))["methods"]["mine"]
    assert numbers["mean"]["vfid"] == pytest.approx(frechet_distance(*features).item(), rel=1e-4)
    with caplog.at_level("INFO", "lightvid"):
        assert "vfid" not in evaluate(data, *results)["methods"]["mine"]["mean"]
        assert "VFID is left out: --i3d takes i3d_rgb_imagenet.pt" in caplog.text
        one = evaluate(data, *results, "--only", "dog", "--i3d", str(data / "i3d.pt"))["methods"]["mine"]
    assert one["mean"]["vfid"] is None


def test_masks_of_other_names_pair_by_their_order(data):
    for number, name in enumerate(sorted(LENGTHS)):
        (data / "masks" / name).rename(data / "masks" / f"{number:05d}")
    assert set(evaluate(data, "--pair", "sorted")["methods"]["propagation"]["videos"]) == set(LENGTHS)


def test_one_image_is_a_mask_of_all_frames(data):
    (data / "single").mkdir()
    for name in LENGTHS:
        (data / "masks" / name / "00000.png").rename(data / "single" / f"{name}.png")
    evaluate(data, masks="single")
    masks = [mask for _, mask in Grey.seen[:6]]
    assert masks[0].any()
    assert all((mask == masks[0]).all() for mask in masks)


def test_videos_may_be_zips_and_video_files(data):
    write_video(data / "frames" / "dog.mp4", truth_of(data, "dog"), fps=24)
    with ZipFile(data / "frames" / "bus.zip", "w") as archive:
        for file in sorted((data / "frames" / "bus").iterdir()):
            archive.write(file, file.name)
    for name in LENGTHS:
        shutil.rmtree(data / "frames" / name)
    scores = evaluate(data, "--results", str(data / "frames"))["methods"]["frames"]
    assert {name: (row["frames"], row["psnr"]) for name, row in scores["videos"].items()} == {
        "bus": (6, 100),
        "dog": (3, 100),
    }


@pytest.fixture
def run_checkpoint(data):
    """A run's, of a network so small that its numbers do not matter."""
    convolutional = {"init_args": {"channels": 8}}
    backbone = {
        "class_path": "lightvid.backbone.SpatioTemporalTransformer",
        "init_args": {"channels": 8, "blocks": 1, "mixer": {"class_path": "lightvid.attention.FullAttention"}},
    }
    parts = {
        "stem": {"class_path": "lightvid.stems.ConvStem", **convolutional},
        "backbone": backbone,
        "head": {"class_path": "lightvid.heads.ConvDecoder", **convolutional},
    }
    tree = {"class_path": "lightvid.networks.InpaintingGenerator", "init_args": parts}
    torch.manual_seed(0)
    state = {f"network.{name}": value for name, value in build(tree).state_dict().items()}
    content = {"lightvid_config": {"task": {"init_args": {"network": tree}}}, "state_dict": state}
    torch.save(content, data / "best.ckpt")
    return data / "best.ckpt"


@pytest.mark.parametrize("protocol", ["published", "default"])
def test_a_runs_checkpoint_is_measured_under_its_name(data, run_checkpoint, protocol):
    numbers = evaluate(data, "--checkpoint", str(run_checkpoint), "--protocol", protocol, "--device", "cpu")
    assert numbers["methods"]["best"]["mean"]["frames"] == 9
    assert numbers["methods"]["best"]["mean"]["psnr"] > 20
    assert numbers["settings"]["protocol"] == protocol


@pytest.mark.parametrize(
    ("protocol", "legacy"), [("published", "all"), ("default", "batchnorm, mean, occlusion, ssim")]
)
def test_the_title_says_what_the_numbers_depend_on(data, run_checkpoint, protocol, legacy, capsys, monkeypatch, caplog):
    monkeypatch.setenv("COLUMNS", "500")
    with caplog.at_level("INFO", "lightvid"):
        evaluate(data, "--checkpoint", str(run_checkpoint), "--protocol", protocol, "--dilate", "2", "--only", "dog")
    expected = f"frames, native; masks widened 2 times; protocol: {protocol}; legacy: {legacy}"
    assert expected in " ".join(capsys.readouterr().out.split())
    assert ("float is left out" in caplog.text) == (protocol == "default")


def test_a_run_without_a_part_of_its_network_is_not_measured(data, run_checkpoint):
    content = torch.load(run_checkpoint, weights_only=True)
    del content["state_dict"]["network.backbone.blocks.0.mixer.query.weight"]
    torch.save(content, run_checkpoint)
    with pytest.raises(CheckpointError, match="does not hold the whole network \\(without backbone"):
        evaluate(data, "--checkpoint", str(run_checkpoint))


class Levels(nn.Module):
    """Says another grey in every window."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, frames, masks, *, local_frames):
        self.calls += 1
        level = torch.full_like(frames, (40.5 + 11 * self.calls) / 127.5 - 1)
        return type("Output", (), {"frames": level})


def test_the_papers_measure_the_blend_before_it_is_cut_to_whole_levels(data):
    (clip, _) = find_clips(data / "frames", data / "masks")
    exact = list(PublishedRestorer(Levels()).blend(clip))
    cut = list(PublishedRestorer(Levels()).restore(clip))
    hole = clip.read_masks([0])[0] > 0
    assert exact[0].dtype == np.float32
    assert set(np.unique(exact[0][hole])) == {56.5}  # 51 and 62 of two windows
    for blended, written in zip(exact, cut, strict=True):
        assert (blended.astype(np.uint8) == written).all()
    assert (next(PublishedRestorer(Levels()).blend(clip, start=4)) == exact[4]).all()


class Shifted:
    """The true frames, every second one brighter by a part of a level."""

    def __init__(self, shift):
        self.shift = np.float32(shift)

    def restore(self, video, *, start=0):
        for index in range(start, len(video)):
            yield np.minimum(video.read_truth([index])[0] + index % 2 * self.shift, 255)


class MeanColour(nn.Module):
    """Instead of I3D."""

    def forward(self, clip):
        return clip.mean((1, 3, 4))


def test_broken_numbers_count_for_psnr_and_ssim_and_whole_levels_for_vfid_and_e_warp(data):
    evaluation = Evaluation(Rules(i3d=MeanColour(), flow=flow_estimator("dis")))
    for clip in find_clips(data / "frames", data / "masks"):
        evaluation.measure(clip, {"broken": Shifted(0.75), "whole": Shifted(0)})
    broken, whole = evaluation.means().values()
    assert broken["psnr"] < whole["psnr"] == 100
    assert broken["ssim"] < whole["ssim"]
    assert broken["vfid"] == pytest.approx(whole["vfid"], abs=1e-9)
    assert broken["e_warp_dis"] == whole["e_warp_dis"]
