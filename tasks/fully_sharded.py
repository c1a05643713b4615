"""Training in which each process keeps a part of every parameter, of its gradient and of its optimiser state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import chain
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from lightvid.building import FSDP_PRECISIONS
from lightvid.errors import ConfigurationError
from lightvid.networks import InstanceSegmenter

from .instance_segmentation import InstanceSegmentation


class FullyShardedSegmenter(DDPStrategy):
    """The network of `InstanceSegmentation` in parts over all processes: `trainer.strategy=fsdp`.

    PyTorch's `fully_shard` (ZeRO, Rajbhandari et al., SC 2020; FSDP, Zhao et al., VLDB 2023) gathers the parameters of
    a unit only while it computes, and then divides their gradients; units are the stem, each block of the backbone,
    each layer of the decoder, and the rest. A moving average is divided likewise. For validation, in which processes
    run the network unequally often, the network is whole on each.

    Checkpoints are those of any other strategy, whole and in one file, so that each resumes what another has saved.
    """

    def setup(self, trainer: pl.Trainer) -> None:
        """As Lightning, which without training would make all parameters equal on all processes: not parts of them.

        Raises:
            ConfigurationError: a task, a precision or a PyTorch that cannot.
        """
        task = self._checked_task()
        parts = [name for name, parameter in task.named_parameters() if isinstance(parameter, DTensor)]
        task._ddp_params_and_buffers_to_ignore = parts  # type: ignore[assignment]
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Divide the networks, before the optimiser is made for the parts."""
        task = self._checked_task()
        # It warns of in-place changes to what units return, of which there are none where gradients are needed.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module")
        for network in [task.network] if task.network_ema is None else [task.network, task.network_ema.module]:
            if not isinstance(network, FSDPModule):  # as an earlier fit has left it
                self._divide(network)  # type: ignore[arg-type]

    def on_validation_start(self) -> None:
        """Gather the network that is validated."""
        network = self._checked_task().validated_network
        for unit in _divided_units(network):
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, src=0)

    def on_validation_end(self) -> None:
        """Divide it again."""
        for unit in _divided_units(self._checked_task().validated_network):
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole state on the first process, which writes it; the others help to gather it."""
        return self._on_first(self._checked_task().state_dict())

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Likewise."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        return {**state, "state": {number: self._on_first(values) for number, values in state["state"].items()}}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take whole tensors, or this process's part of them where the network is divided already."""
        present = self._checked_task().state_dict()
        state = {name: _part(value, present.get(name)) for name, value in checkpoint["state_dict"].items()}
        super().load_model_state_dict({"state_dict": state}, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's part of whole states."""
        states = []
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            parts = {
                number: {name: _part(value, parameters[number]) for name, value in values.items()}
                for number, values in saved["state"].items()
            }
            states.append({**saved, "state": parts})
        super().load_optimizer_state_dict({"optimizer_states": states})

    def teardown(self) -> None:
        """As Lightning, but leave the parts on the devices that they are divided over."""
        for owner in (self.cluster_environment, self.precision_plugin, self.accelerator, self.checkpoint_io):
            assert owner is not None
            owner.teardown()

    def _checked_task(self) -> InstanceSegmentation:
        task = self.lightning_module
        if not isinstance(task, InstanceSegmentation):
            raise ConfigurationError(
                f"trainer.strategy=fsdp is for task=vis, not for {type(task).__name__}, whose networks learn in turns: "
                "trainer.strategy=ddp_find_unused_parameters_true"
            )
        if self.precision_plugin.precision not in FSDP_PRECISIONS:
            raise ConfigurationError(
                f"trainer.strategy=fsdp takes trainer.precision={' or '.join(FSDP_PRECISIONS)},"
                f" not {self.precision_plugin.precision}"
            )
        if task.network._compiled_call_impl is not None:
            raise ConfigurationError("trainer.strategy=fsdp and compile=true exclude each other: leave one of them out")
        if not hasattr(FSDPModule, "set_reduce_scatter_unused_params"):
            raise ConfigurationError(f"trainer.strategy=fsdp needs PyTorch 2.13 or later, not {torch.__version__}")
        return task

    def _divide(self, network: InstanceSegmenter) -> None:
        """Divide what the first process holds; all have made the same, unless their random states differ."""
        for tensor in chain(network.parameters(), network.buffers()):
            torch.distributed.broadcast(tensor.detach(), src=0)
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for unit in _units(network):
            fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        # Where the batch of one process leaves a parameter without gradient, it has to take part in their sum.
        network.set_reduce_scatter_unused_params(True)  # type: ignore[operator]

    def _on_first(self, state: Mapping[str, Any]) -> dict[str, Any]:
        whole = ((name, _whole(value)) for name, value in state.items())
        return {name: value for name, value in whole if self.is_global_zero}


def _units(network: InstanceSegmenter) -> list[nn.Module]:
    """The modules that are gathered one by one, the last with what is in none of the others.

    The reversible schemes run the parts of a block, forwards and backwards, and not the block: all blocks are one unit.
    """
    backbone = network.backbone
    blocks = [backbone] if backbone.residual.startswith("reversible") else list(backbone.blocks)
    return [network.stem, *blocks, *network.decoder.layers, network]


def _divided_units(network: nn.Module) -> list[FSDPModule]:
    return [module for module in network.modules() if isinstance(module, FSDPModule)]


def _whole(value: Any) -> Any:
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def _part(value: Any, like: Any) -> Any:
    """This process's part of a whole tensor, if `like` is one; what does not fit it stays as it is."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


StrategyRegistry.register(
    "fully_sharded_segmenter",  # fsdp is the name of a strategy of Lightning
    FullyShardedSegmenter,
    description="the network for instances in parts over all processes",
)
