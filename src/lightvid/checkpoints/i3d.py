"""I3D trained on ImageNet and Kinetics, as released in `i3d_rgb_imagenet.pt`."""

from __future__ import annotations

from typing import Any

import torch

from lightvid.checkpoint_reading import Tensors
from lightvid.networks.i3d import I3D


def create(tensors: Tensors, **options: Any) -> I3D:
    """The network for a file; options as for `I3D`."""
    return I3D(**options)


def convert(tensors: Tensors) -> Tensors:
    """Without the classifier, and with the counters of batches that files of old versions of PyTorch do not have."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("logits.")}
    for name in list(kept):
        if name.endswith(".running_mean"):
            kept.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return kept


def names(network: I3D) -> dict[str, str]:
    """Published name -> name in the network."""
    return {name.removeprefix("stages."): name for name in network.state_dict()}
