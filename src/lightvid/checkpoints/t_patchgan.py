"""The discriminator of STTN, DSTT, FuseFormer and E2FGVI, as their trainers save it in `dis_*.pth`."""

from __future__ import annotations

from typing import Any

from lightvid.checkpoint_reading import Tensors
from lightvid.networks import TPatchGAN


def create(tensors: Tensors, **options: Any) -> TPatchGAN:
    """The network for a file, as wide as the file says; options as for `TPatchGAN`.

    `merge_batch_into_time` is on unless given, as in the trainers of STTN, DSTT and FuseFormer; that of E2FGVI has it
    off. It makes no difference to a batch of one clip.
    """
    first = tensors.get("conv.0.weight_orig")
    width = 64 if first is None else len(first)
    return TPatchGAN(width, **{"merge_batch_into_time": True, **options})


def names(network: TPatchGAN) -> dict[str, str]:
    """Published name -> name in the network; activations take every second place of the published sequence."""
    table = {"conv.10.weight": "convs.5.weight", "conv.10.bias": "convs.5.bias"}
    for index in range(5):
        published, normalised = f"conv.{2 * index}", f"convs.{index}.parametrizations.weight"
        table[f"{published}.weight_orig"] = f"{normalised}.original"
        table[f"{published}.weight_u"] = f"{normalised}.0._u"
        table[f"{published}.weight_v"] = f"{normalised}.0._v"
    return table
