"""Reversible blocks: the activations are rebuilt from the outputs, so that memory does not grow with depth.

RevNet (Gomez et al., NeurIPS 2017); Reformer (Kitaev et al., ICLR 2020); FastSTTN (Escher et al., SIBGRAPI 2021),
Eq. 3-6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lightvid.backbone.block import Block, TokenContext
from lightvid.backbone.replay import ForwardConditions


@torch.compiler.disable
def reversible(
    blocks: Sequence[Block], x1: Tensor, x2: Tensor, context: TokenContext, *, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The function of `residual.coupled`, keeping only the last block's outputs for the backward pass.

    Every block is one autograd function with its parameters among the inputs, so that gradients reach hooks,
    `torch.autograd.grad` and distributed training one block at a time, as in any network. First derivatives only. The
    branches run once more in the backward pass, so they must not have side effects such as running statistics.

    Args:
        blocks: the blocks, in order.
        x1: first stream, `(B, T, H, W, C)`.
        x2: second stream, likewise.
        context: for the mixers; it gets no gradient.
        dtype: of the tokens that the branches see; the streams keep theirs.
    """
    tape = _Tape()
    for index, block in enumerate(blocks):
        mix = _Branch(partial(block.mix, context=context), dtype, [block.mixer_norm, block.mixer])
        feed = _Branch(block.feed, dtype, [block.feed_forward_norm, block.feed_forward])
        step = _Step(mix, feed, tape, first=index == 0, last=index == len(blocks) - 1)
        x1, x2 = _ReversibleBlock.apply(step, x1, x2, *mix.parameters, *feed.parameters)
    return x1, x2


@dataclass
class _Tape:
    """The streams between two blocks during a backward pass: left by the later block, taken by the earlier one."""

    streams: tuple[Tensor, Tensor] | None = None

    def take(self) -> tuple[Tensor, Tensor]:
        streams, self.streams = self.streams, None
        assert streams is not None
        return streams


class _Branch:
    """One residual branch, F or G: computed without a graph in the forward pass, and once more with one in backward."""

    def __init__(self, function: Callable[[Tensor], Tensor], dtype: torch.dtype, modules: Sequence[nn.Module]) -> None:
        self.function = function
        self.dtype = dtype
        self.parameters = [p for module in modules for p in module.parameters() if p.requires_grad]

    def forward(self, x: Tensor) -> Tensor:
        self.conditions = ForwardConditions(x)
        with self.conditions.autocast():
            return self.function(x.to(self.dtype))

    def backward(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor | None]]:
        """The branch's value at x again, and the gradients of x and of the parameters, from one computation."""
        leaf = x.detach().requires_grad_()
        with torch.enable_grad(), self.conditions.replay():
            # Hooks that tools put on a module's inputs expect a tensor that is no leaf.
            value = self.function(leaf.view_as(leaf).to(self.dtype))
        inputs = [leaf, *self.parameters]
        gradients = torch.autograd.grad(value, inputs, gradient.to(value.dtype), allow_unused=True)
        of_x = torch.zeros_like(x) if gradients[0] is None else gradients[0]
        return value.detach(), of_x, gradients[1:]


@dataclass
class _Step:
    """One block's part in one forward pass."""

    mix: _Branch
    feed: _Branch
    tape: _Tape
    first: bool
    last: bool


class _ReversibleBlock(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, step: _Step, x1: Tensor, x2: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        y1 = x1 + step.mix.forward(x2)
        y2 = x2 + step.feed.forward(y1)
        ctx.step = step
        if step.last:
            ctx.save_for_backward(y1, y2)
        return y1, y2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy1: Tensor, dy2: Tensor) -> tuple[Any, ...]:
        step: _Step = ctx.step
        # What autograd saved serves a second backward pass, too; what the tape holds may be overwritten.
        y1, y2 = ctx.saved_tensors if step.last else step.tape.take()
        value, gradient, of_feed = step.feed.backward(y1, dy2)
        x2 = y2 - value if step.last else y2.sub_(value)
        dx1 = dy1 + gradient
        del y2, value, gradient
        value, gradient, of_mix = step.mix.backward(x2, dx1)
        if not step.first:
            step.tape.streams = (y1 - value if step.last else y1.sub_(value), x2)
        return None, dx1, dy2 + gradient, *of_mix, *of_feed
