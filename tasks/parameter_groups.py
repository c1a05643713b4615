"""Learning rates of a network's layers against each other, and layers that only begin to learn later."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from pytorch_lightning.cli import OptimizerCallable
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from lightvid.errors import ConfigurationError

# In an optimiser's parameter group: the first step that changes its parameters.
LEARNS_FROM = "learns_from"


@dataclass(frozen=True)
class FineTuning:
    """How the trained part of a network, its stem and its backbone, learns beside the new heads.

    With n blocks, counted from 0, the learning rate of block i is that of the heads times
    `backbone_lr_scale * layer_decay ** (n - i)`, that of the stem below them has the power n + 1 (as for BEiT, Bao et
    al., ICLR 2022); positions added to the tokens go with the stem, a final norm with the last block.

    Frozen layers do not change at all: neither by gradients nor by weight decay, nor do statistics of batch
    normalisation. They still take part in the backward pass, so that every process of a distributed run sees the same
    gradients at any time and nothing is registered anew when they are released.

    Args:
        backbone_lr_scale: factor of the learning rates of backbone and stem.
        layer_decay: factor from each layer to the one below it, above 0 and at most 1.
        freeze_backbone_steps: optimiser steps in which backbone and stem are frozen.
        unfreeze_block_steps: from then on, the blocks are released one after the other, from the last to the first and
            then the stem, so many steps apart; 0 releases all at once.
        pretrained_stem: whether all this concerns the stem; if not, it learns as the heads do. For a start from another
            task with another stem.
    """

    backbone_lr_scale: float = 1.0
    layer_decay: float = 1.0
    freeze_backbone_steps: int = 0
    unfreeze_block_steps: int = 0
    pretrained_stem: bool = True

    def __post_init__(self) -> None:
        if self.backbone_lr_scale <= 0:
            raise ConfigurationError(
                f"task.backbone_lr_scale={self.backbone_lr_scale}: expected a number above 0;"
                " task.freeze_backbone_steps freezes the backbone"
            )
        if not 0 < self.layer_decay <= 1:
            raise ConfigurationError(f"task.layer_decay={self.layer_decay}: expected a number above 0, at most 1")
        for name in ("freeze_backbone_steps", "unfreeze_block_steps"):
            if getattr(self, name) < 0:
                raise ConfigurationError(f"task.{name}={getattr(self, name)} counts steps: expected at least 0")

    @property
    def concerns_stem(self) -> bool:
        """Whether the stem learns otherwise than the heads."""
        return self.pretrained_stem and self != FineTuning()

    def factor(self, level: int | None, blocks: int) -> float:
        """Of the learning rate, for a level as `level_of` counts it."""
        return 1.0 if level is None else self.backbone_lr_scale * self.layer_decay ** (blocks - level)

    def learns_from(self, level: int | None, blocks: int) -> int:
        """The first step that changes a level."""
        if level is None:
            return 0
        return self.freeze_backbone_steps + self.unfreeze_block_steps * (blocks - 1 - level)

    def level_of(self, name: str, blocks: int) -> int | None:
        """The number of the block that a parameter or module belongs to, -1 below them, None in the heads."""
        if match := re.match(r"backbone\.blocks\.(\d+)\.", name):
            return int(match[1])
        if name.startswith("backbone.final_norm."):
            return blocks - 1
        is_below = name.startswith("backbone.") or (self.pretrained_stem and name.startswith("stem."))
        return -1 if is_below else None


def grouped_optimizer(
    make: OptimizerCallable,
    network: nn.Module,
    fine_tuning: FineTuning,
    *,
    factor_of: Callable[[str], float] = lambda name: 1.0,
    without: Collection[nn.Parameter] = (),
) -> Optimizer:
    """An optimiser of a network, with a group for each learning rate and each beginning.

    Args:
        make: makes it from groups of parameters.
        network: with a `backbone`, unless nothing is to be tuned.
        fine_tuning: factors and beginnings of the layers.
        factor_of: further factor of the learning rate, by a parameter's name.
        without: parameters that belong to another optimiser.
    """
    blocks = number_of_blocks(network)
    if not blocks and fine_tuning != FineTuning():
        raise ConfigurationError(
            f"a {type(network).__name__} has no backbone.blocks to freeze or to slow down: leave out task.layer_decay,"
            " backbone_lr_scale, freeze_backbone_steps and unfreeze_block_steps"
        )
    left_out = set(without)
    groups: dict[tuple[float, int], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter not in left_out:
            level = fine_tuning.level_of(name, blocks)
            factor = factor_of(name) * fine_tuning.factor(level, blocks)
            groups[factor, fine_tuning.learns_from(level, blocks)].append(parameter)
    optimizer = make([{"params": parameters} for parameters in groups.values()])
    for group, (factor, first) in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] *= factor  # schedules keep the ratio
        if first:
            group[LEARNS_FROM] = first
    return optimizer


def check_optimizer(key: str, make: OptimizerCallable) -> None:
    """Refuse arguments that an optimiser does not take, before a run has begun.

    Args:
        key: of its configuration.
        make: makes it from parameters.

    Raises:
        ConfigurationError: the optimiser's own finding, such as a negative learning rate.
    """
    try:
        make([nn.Parameter(torch.zeros(1, 1))])
    except ValueError as error:
        raise ConfigurationError(f"{key}: {' '.join(str(error).split())}") from error
    except RuntimeError:  # of devices: that of the parameters is not known yet
        pass


def drop_frozen_gradients(optimizer: Optimizer, step: int) -> None:
    """Let a step change nothing that is still frozen: optimisers pass over parameters without gradients.

    Unlike a learning rate of 0 it also keeps momenta as they are, and works with schedules that go on from the current
    learning rate.

    Args:
        optimizer: of `grouped_optimizer`.
        step: number of steps before this one.
    """
    for group in optimizer.param_groups:
        if step < group.get(LEARNS_FROM, 0):
            for parameter in group["params"]:
                parameter.grad = None


def hold_statistics(network: nn.Module, fine_tuning: FineTuning, step: int) -> None:
    """Keep the running statistics of batch normalisation in frozen layers as they are, and let go of them after.

    Args:
        network: in training.
        fine_tuning: of its optimiser.
        step: number of steps before this one.
    """
    blocks = number_of_blocks(network)
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            first = fine_tuning.learns_from(fine_tuning.level_of(f"{name}.", blocks), blocks)
            if first:
                module.train(step >= first)


def number_of_blocks(network: nn.Module) -> int:
    """Of its backbone."""
    backbone = getattr(network, "backbone", None)
    return len(getattr(backbone, "blocks", ()))
