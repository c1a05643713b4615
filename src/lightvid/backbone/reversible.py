"""Reversible stacks (Gomez et al., NeurIPS 2017): the backward pass rebuilds every block's input from its output.

Each block is one autograd function. Its parameters are explicit inputs of the graph, so that hooks, distributed data
parallel and `torch.autograd.grad` see them. What a block hands to the one before it, its rebuilt input, travels in a side
channel; only the last block saves its output.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Streams = tuple[Tensor, Tensor]


class ReversibleBlock(Protocol):
    """A block as two functions: `mix` is F, `feed` is G."""

    def mix(self, x: Tensor, holes: Tensor | None = None) -> Tensor: ...  # noqa: D102

    def feed(self, x: Tensor) -> Tensor: ...  # noqa: D102


def reversible_stack(
    blocks: nn.ModuleList, x1: Tensor, x2: Tensor, holes: Tensor | None = None, *, recompute: bool = True
) -> Streams:
    """Run `y1 = x1 + F(x2)`, `y2 = x2 + G(y1)` through all blocks.

    Args:
        blocks: modules with `mix(x, holes)` and `feed(x)`, and the parameters of each under the names `mixer*` and
            `feed_forward*`.
        x1: the first stream, `(B, T, H, W, C)`.
        x2: the second stream, of the same shape.
        holes: handed to every mixer.
        recompute: rebuild the inputs in the backward pass; False lets autograd keep all activations.

    Returns:
        Both streams, in float32 where the inputs are of lower precision: rounding errors would grow from block to block.
    """
    if x1.dtype in (torch.float16, torch.bfloat16):
        x1, x2 = x1.float(), x2.float()
    members = [cast(ReversibleBlock, block) for block in blocks]
    if not torch.is_grad_enabled():
        return _run_in_place(members, x1.clone(), x2.clone(), holes)
    if not recompute:
        for block in members:
            x1 = x1 + block.mix(x2, holes)
            x2 = x2 + block.feed(x1)
        return x1, x2
    channel = _SideChannel()
    for index, module in enumerate(blocks):
        call = _Call(cast(ReversibleBlock, module), holes, channel, first=index == 0, last=index == len(blocks) - 1)
        call.mix_parameters, call.feed_parameters = _parameters(module)
        x1, x2 = _Reversible.apply(call, x1, x2, *call.mix_parameters, *call.feed_parameters)
    return x1, x2


@dataclass
class _SideChannel:
    """The output of the block whose turn it is in the backward pass."""

    streams: Streams | None = None

    def take(self) -> Streams:
        assert self.streams is not None, "the backward pass of a reversible stack runs from its last block to its first"
        streams, self.streams = self.streams, None
        return streams


@dataclass
class _Call:
    """One block in one forward pass."""

    block: ReversibleBlock
    holes: Tensor | None
    channel: _SideChannel
    first: bool
    last: bool
    mix_parameters: list[Tensor] = field(default_factory=list)
    feed_parameters: list[Tensor] = field(default_factory=list)

    def mix(self, x: Tensor) -> Tensor:
        return self.block.mix(x, self.holes)


class _Reversible(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, x1: Tensor, x2: Tensor, *parameters: Tensor) -> Streams:
        ctx.call = call
        ctx.replay_mix = _Replay(x1.device)
        with ctx.replay_mix.autocast():
            y1 = x1 + call.mix(x2)
        ctx.replay_feed = _Replay(x1.device)
        with ctx.replay_feed.autocast():
            y2 = x2 + call.block.feed(y1)
        if call.last:
            ctx.save_for_backward(y1, y2)
        return y1, y2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy1: Tensor, dy2: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        # The saved output of the last block is not ours to overwrite: the graph may be walked again.
        y1, y2 = ctx.saved_tensors if call.last else call.channel.take()
        with ctx.replay_feed():
            update, dy1_feed, feed_gradients = _differentiate(call.block.feed, y1, dy2, call.feed_parameters)
        x2 = y2 - update if call.last else y2.sub_(update)
        del y2, update
        dx1 = dy1 + dy1_feed
        del dy1_feed
        with ctx.replay_mix():
            update, dx2_mix, mix_gradients = _differentiate(call.mix, x2, dx1, call.mix_parameters)
        if not call.first:
            call.channel.streams = (y1 - update if call.last else y1.sub_(update), x2)
        return None, dx1, dy2 + dx2_mix, *mix_gradients, *feed_gradients


def _differentiate(
    function: Callable[[Tensor], Tensor], x: Tensor, gradient: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
    """The value of a function, and the gradients of its input and its parameters, from one evaluation."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        # An alias, because hooks on module inputs do not accept leaves inside a backward pass.
        value = function(leaf.view_as(leaf))
        inputs = [leaf, *parameters]
        dx, *gradients = torch.autograd.grad(value, inputs, gradient.to(value.dtype), allow_unused=True)
    return value.detach(), torch.zeros_like(x) if dx is None else dx, tuple(gradients)


class _Replay:
    """The random state and the autocast mode at a point of the forward pass, to compute the same again in the backward pass."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.cpu_state = torch.get_rng_state()
        self.cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self.has_autocast = torch.amp.is_autocast_available(device.type)
        if self.has_autocast:
            self.enabled = torch.is_autocast_enabled(device.type)
            self.dtype = torch.get_autocast_dtype(device.type)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        devices = [self.device] if self.cuda_state is not None else []
        with torch.random.fork_rng(devices=devices), self.autocast():
            torch.set_rng_state(self.cpu_state)
            if self.cuda_state is not None:
                torch.cuda.set_rng_state(self.cuda_state, self.device)
            yield

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """The forward pass's mode, without its cache: weights cast there, without gradients, must not be found again."""
        if not self.has_autocast:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.enabled, cache_enabled=False)


def _parameters(block: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The trained parameters of F and of G."""
    named = [(name, parameter) for name, parameter in block.named_parameters() if parameter.requires_grad]
    mix = [parameter for name, parameter in named if name.startswith("mixer")]
    return mix, [parameter for name, parameter in named if not name.startswith("mixer")]


def _run_in_place(blocks: Sequence[ReversibleBlock], x1: Tensor, x2: Tensor, holes: Tensor | None) -> Streams:
    for block in blocks:
        x1 += block.mix(x2, holes)
        x2 += block.feed(x1)
    return x1, x2
