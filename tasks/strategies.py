"""Training strategies for networks that learn in turns."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lightvid.errors import ConfigurationError

from .base import SteppedTask
from .inpainting import Inpainting


class DDPPerNetwork(DDPStrategy):
    """Each network of a task in a `DistributedDataParallel` of its own: `trainer.strategy=ddp_per_network`.

    Around the whole task, `DistributedDataParallel` would have to look for the other network's parameters in each
    backward pass of a GAN, and would average their gradients, too. Here a backward pass averages those of its own
    network alone, and of accumulated batches those of the last alone.

    The networks keep their names and their keys in checkpoints. It is for tasks with `networks_in_turn`; all
    trainable parameters of a network must take part in each of its backward passes.
    """

    def configure_ddp(self) -> None:
        """Wrap the networks and leave the task itself as it is.

        Raises:
            ConfigurationError: another task than inpainting.
        """
        task = self.lightning_module
        if not isinstance(task, Inpainting):
            raise ConfigurationError(
                f"trainer.strategy=ddp_per_network is for task=inpaint, not for {type(task).__name__}: "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )
        self._wrapped = [
            _WrappedForward(task, network, self._setup_model(network)) for network in task.networks_in_turn
        ]

    def teardown(self) -> None:
        """Give the networks their own forward back."""
        for wrapped in getattr(self, "_wrapped", []):
            wrapped.remove()
        super().teardown()


class _WrappedForward:
    """Stands in for a network's `forward`: where gradients are wanted, the call goes through its wrapper.

    Args:
        task: says which batch ends a step.
        network: gets this as its `forward`.
        wrapper: its own, which in turn calls the network.
    """

    def __init__(self, task: SteppedTask, network: nn.Module, wrapper: DistributedDataParallel) -> None:
        self.task = task
        self.network = network
        self.wrapper = wrapper
        self.forward = network.forward
        self.is_inside = False
        network.forward = self

    @torch.compiler.disable(recursive=False)  # what it calls may be compiled
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        learns = self.task.training and any(parameter.requires_grad for parameter in self.network.parameters())
        if self.is_inside or not learns:
            return self.forward(*arguments, **options)
        self.is_inside = True
        # Asked for during the forward pass, it holds for the backward pass, too.
        self.wrapper.require_backward_grad_sync = self.task.is_last_of_step()
        try:
            return self.wrapper(*arguments, **options)
        finally:
            self.is_inside = False

    def remove(self) -> None:
        """Give the network its forward back."""
        self.network.__dict__.pop("forward", None)


StrategyRegistry.register(
    "ddp_per_network",
    DDPPerNetwork,
    description="each network of a task in a DistributedDataParallel of its own",
    broadcast_buffers=False,  # a buffer that changes between two forward passes must not be changed by their wrapper
)
