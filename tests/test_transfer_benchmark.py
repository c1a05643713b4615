"""The benchmark of transfer compares what it says."""

import importlib.util
from pathlib import Path

import pytest
import torch

from lightvid.checkpoints.building import build
from lightvid.checkpoints.transfer import initialise
from lightvid.configuration import compose

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "transfer.py"


@pytest.fixture(scope="module")
def transfer():
    spec = importlib.util.spec_from_file_location("transfer_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("stem", [False, True])
def test_networks_for_instances_take_the_whole_backbone_and_with_it_the_stem(transfer, tmp_path, stem):
    def network(arguments):
        return build(compose([*arguments, *transfer.BUDGET])["task"]["init_args"]["network"])

    pretrained = network([*transfer.inpainting(), *(transfer.inpainting_stem() if stem else [])])
    state = {f"network.{name}": value for name, value in pretrained.state_dict().items()}
    torch.save({"lightvid_config": {}, "state_dict": state}, tmp_path / "file.ckpt")
    segmenter = network(transfer.instances())
    rows = {row.part: row.report for row in initialise({"vis": segmenter}, str(tmp_path / "file.ckpt")).rows}
    assert not (rows["backbone"].missing or rows["backbone"].mismatched or rows["backbone"].unexpected)
    assert bool(rows["stem"].matched) is stem
    assert bool(rows["stem"].missing) is not stem
    for name, value in segmenter.backbone.state_dict().items():
        assert torch.equal(value, pretrained.backbone.state_dict()[name]), name
