"""The names of a ResNet's tensors: torchvision's, under which weights are published, and those of `transformers`."""

from __future__ import annotations

from torch import nn

NORM = ("weight", "bias", "running_mean", "running_var")


def resnet_names(body: nn.Module) -> dict[str, str]:
    """torchvision's name -> name in a ResNet of `transformers`, without the counters of batches."""
    names = _layer("conv1", "bn1", "embedder.embedder")
    stages: nn.ModuleList = body.encoder.stages  # type: ignore[assignment, union-attr]
    for stage, blocks in enumerate(stages):
        for index, block in enumerate(blocks.layers):  # type: ignore[arg-type]
            published, mine = f"layer{stage + 1}.{index}", f"encoder.stages.{stage}.layers.{index}"
            for number in range(len(block.layer)):
                names |= _layer(
                    f"{published}.conv{number + 1}", f"{published}.bn{number + 1}", f"{mine}.layer.{number}"
                )
            if not isinstance(block.shortcut, nn.Identity):
                names |= _layer(f"{published}.downsample.0", f"{published}.downsample.1", f"{mine}.shortcut")
    return names


def _layer(convolution: str, norm: str, mine: str) -> dict[str, str]:
    names = {f"{convolution}.weight": f"{mine}.convolution.weight"}
    return names | {f"{norm}.{kind}": f"{mine}.normalization.{kind}" for kind in NORM}
