"""What the benchmarks measure is what they say."""

import importlib.util
from pathlib import Path

import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_the_measured_training_step_of_instance_segmentation_teaches_all_parts():
    spec = importlib.util.spec_from_file_location("vis_attention", BENCHMARKS / "vis_attention.py")
    vis_attention = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(vis_attention)
    small = {"channels": 128, "hidden": 32, "layers": 1, "dropout": 0.0}
    for make in vis_attention.NETWORKS.values():
        network = make(frames=2, **small)
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        step = vis_attention._training_step(network, torch.rand(1, 2, 3, 64, 96), torch.float32)
        step()
        changed = {name.split(".")[0] for name, after in network.named_parameters() if (after != before[name]).any()}
        assert changed == {"stem", "backbone", "decoder", "mask_head"}
