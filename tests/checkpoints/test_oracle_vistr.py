"""VisTR's network and criterion answer what was recorded of the published ones, with formula weights."""

import importlib.util
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lightvid.annotations import InstanceTargets
from lightvid.checkpoints import load
from lightvid.losses import VisTRLoss
from lightvid.networks import vistr

ORACLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracles"
RECORDED = ORACLES / "vistr_r50_96x160.json"
HEIGHT, WIDTH, FRAMES = 96, 160, 36

needs_oracle = pytest.mark.skipif(
    not RECORDED.is_file(), reason="no recorded outputs of the published network beside us"
)


def formula_weights():
    """The published names with their formula weights, scaled as the recording says."""
    spec = importlib.util.spec_from_file_location("formula", ORACLES / "formula.py")
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    weights = {}
    for name, shape in json.loads(RECORDED.read_text())["state_dict"].items():
        weights[name] = formula.tensor_for(name, tuple(shape))
        if name == "vistr.query_embed.weight":
            weights[name] *= math.sqrt(math.prod(shape[1:]))
        elif name == "mask_head.conv_offset.weight":
            seeded = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            weights[name] = torch.randn(shape, generator=seeded) * 0.1
        elif name.endswith("bn3.weight"):
            weights[name] *= 0.3
    return weights


@pytest.fixture(scope="module")
def network():
    return load("vistr_r50", {"model": formula_weights()})


@pytest.fixture(scope="module")
def output(network):
    noise = torch.randn(FRAMES, 3, 6, 10, generator=torch.Generator().manual_seed(7))
    frames = torch.nn.functional.interpolate(noise, size=(HEIGHT, WIDTH), mode="bicubic", align_corners=False)
    with torch.inference_mode():
        return network(frames.unsqueeze(0))


@needs_oracle
def test_all_published_tensors_are_taken(network):
    published = json.loads(RECORDED.read_text())["state_dict"]
    assert len(published) == 503
    assert network.checkpoint_report.complete
    stacked = sum(".in_proj_" in name for name in published)  # queries, keys and values in one
    assert len(network.checkpoint_report.matched) == len(published) + 2 * stacked


@needs_oracle
@pytest.mark.parametrize("part", ["logits", "boxes", "masks"])
def test_the_network_answers_what_was_recorded(output, part):
    expected = torch.from_numpy(np.load(ORACLES / "vistr_r50_96x160.npz")[f"pred_{part}"])
    result = getattr(output, part).flatten(1, 2)
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-3 * expected.std()


@needs_oracle
def test_the_criterion_gives_the_recorded_losses_of_all_layers(output):
    recorded = json.loads(RECORDED.read_text())["losses"]
    losses = VisTRLoss(published_visibility=True)(output, [recorded_tracks()])
    names = {"class": "loss_ce", "box": "loss_bbox", "giou": "loss_giou", "mask": "loss_mask", "dice": "loss_dice"}
    expected = {
        f"{ours}{layer}": recorded[f"{theirs}{layer}"]
        for ours, theirs in names.items()
        for layer in ("", "_0", "_1", "_2", "_3", "_4")
        if f"{theirs}{layer}" in recorded
    }
    assert len(expected) == 6 * 3 + 2
    assert set(losses) == {*expected, "class_error"}
    for name, value in expected.items():
        assert losses[name].item() == pytest.approx(value, rel=1e-3), name


def recorded_tracks():
    """Three tracks whose boxes drift, absent every few frames; masks fill them between truncated pixel edges."""
    boxes, masks = torch.zeros(3, FRAMES, 4), torch.zeros(3, FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    for track in range(3):
        for time in range(FRAMES):
            if (time + 5 * track) % (6 + track):
                x, y = 0.2 + 0.25 * track + 0.004 * time, 0.3 + 0.2 * track + 0.003 * time
                w, h = 0.3, 0.2 + 0.02 * track
                boxes[track, time] = torch.tensor([x, y, w, h])
                rows = slice(int((y - h / 2) * HEIGHT), int((y + h / 2) * HEIGHT))
                masks[track, time, rows, int((x - w / 2) * WIDTH) : int((x + w / 2) * WIDTH)] = True
    return InstanceTargets(torch.tensor([7, 12, 1]) - 1, boxes, boxes.any(-1), masks)


@pytest.mark.parametrize(
    ("model", "parameters", "trainable", "entries"),
    [("resnet50", 57_116_129, 56_893_729, 503), ("resnet101", 76_056_033, 75_833_633, 758)],
)
def test_the_network_has_as_many_parameters_as_published(model, parameters, trainable, entries):
    with torch.device("meta"):
        network = vistr(model)
    counts = [(p.numel(), p.requires_grad) for p in network.parameters()]
    assert sum(count for count, _ in counts) == parameters
    assert sum(count for count, learns in counts if learns) == trainable
    # each of 18 attentions holds queries, keys and values apart: 4 tensors more
    assert len(network.state_dict()) == entries + 4 * 18
