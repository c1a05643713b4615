"""Flow-guided networks answer what the published ones answer, with formula weights under the published names."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lightvid.checkpoints import load

ORACLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracles"

pytestmark = pytest.mark.skipif(not ORACLES.is_dir(), reason="no recorded outputs of the published networks beside us")


@pytest.fixture(scope="module")
def formula():
    spec = importlib.util.spec_from_file_location("formula", ORACLES / "formula.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weights_of(name, formula, recorded=None):
    shapes = json.loads((ORACLES / f"{name}.json").read_text())["state_dict"]
    constants = ("valid_ind_rolled", "mean", "std")
    return {
        key: recorded[key] if recorded and key in recorded else formula.tensor_for(key, tuple(shape))
        for key, shape in shapes.items()
        if not key.endswith(constants)
    }


def arrays(name):
    return {key: torch.from_numpy(value) for key, value in np.load(ORACLES / f"{name}.npz").items()}


def assert_close(result, expected):
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-3 * expected.std()


def test_spynet(formula):
    network = load("spynet", weights_of("spynet", formula))
    assert network.checkpoint_report.complete
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_440_300
    frames = (formula.video(2, 96, 160, 5) + 1) / 2
    with torch.inference_mode():
        assert_close(network(frames[:, 0], frames[:, 1]), arrays("spynet")["flow"])


@pytest.mark.parametrize(
    ("name", "oracle", "clip"),
    [
        ("e2fgvi", "e2fgvi_generator", (5, 240, 432, 3)),
        ("e2fgvi_hq", "e2fgvi_hq_generator", (5, 240, 432, 3)),
        ("e2fgvi_hq", "e2fgvi_hq_generator_180x324", (4, 180, 324, 2)),
    ],
)
def test_generator(name, oracle, clip, formula):
    *size, local = clip
    network = load(name, weights_of(f"{name}_generator", formula))
    assert network.checkpoint_report.complete
    frames, masks = formula.video(*size, 1), formula.holes(*size, 2)
    expected = arrays(oracle)
    with torch.inference_mode():
        output = network(frames * (1 - masks), masks, local_frames=local)
    assert_close(output.frames[0, ..., ::2, ::2], expected["output"])
    for flow, direction in zip(output.flows, ("forward", "backward"), strict=True):
        if f"flow_{direction}" in expected:
            assert_close(flow, expected[f"flow_{direction}"])


def test_discriminator(formula):
    expected = arrays("e2fgvi_discriminator")
    network = load("t_patchgan", weights_of("e2fgvi_discriminator", formula, expected))
    assert network.checkpoint_report.complete
    with torch.inference_mode():
        assert_close(network(formula.video(5, 240, 432, 3)), expected["output"])
