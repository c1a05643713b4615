"""Our networks answer what the published ones answer, with formula weights under the published names."""

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


def recorded(name, formula, gain=1.0):
    """The published names with their formula weights, and what was recorded."""
    shapes = json.loads((ORACLES / f"{name}.json").read_text())["state_dict"]
    arrays = {key: torch.from_numpy(value) for key, value in np.load(ORACLES / f"{name}.npz").items()}
    weights = {
        key: arrays[key] if key in arrays else formula.tensor_for(key, tuple(shape), gain=gain)
        for key, shape in shapes.items()
    }
    return weights, arrays["output"]


def assert_close(result, expected):
    assert result.shape == expected.shape
    assert (result - expected).abs().max() <= 1e-3 * expected.std()


@pytest.mark.parametrize(
    ("name", "container", "gain"), [("sttn", "netG", 0.75), ("dstt", "netG", 1), ("fuseformer", None, 1)]
)
def test_generator(name, container, gain, formula):
    weights, expected = recorded(f"{name}_generator", formula, gain)
    network = load(name, {container: weights} if container else weights)
    assert network.checkpoint_report.complete
    frames, masks = formula.video(3, 240, 432, 1), formula.holes(3, 240, 432, 2)
    with torch.inference_mode():
        result = network(frames * (1 - masks), masks).frames
    assert_close(result[0, ..., ::2, ::2], expected)


def test_t_patchgan(formula):
    weights, expected = recorded("sttn_discriminator", formula, gain=0.75)
    network = load("t_patchgan", {"netD": weights})
    assert network.checkpoint_report.complete
    with torch.inference_mode():
        assert_close(network(formula.video(5, 240, 432, 3)), expected)
