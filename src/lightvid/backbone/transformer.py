"""The backbone that all tasks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lightvid.attention import PatchAttention
from lightvid.backbone.block import Block, Norm, TokenContext
from lightvid.backbone.feed_forward import ConvFeedForward
from lightvid.backbone.residual import additive, checkpointed, coupled
from lightvid.backbone.reversible import reversible
from lightvid.errors import ConfigurationError

Residual = Literal["additive", "checkpoint", "reversible", "reversible_split"]
PositionsAt = Literal["input", "attention"]


class SpatioTemporalTransformer(nn.Module):
    """Blocks of a token mixer and a feed-forward on a grid of tokens, `(B, T, H, W, C) -> (B, T, H, W, C)`.

    The weights have the same names under every residual scheme: those of `additive` and `checkpoint` are the same
    network, and `reversible` takes them with equal shapes (another function, so it needs training).

    Args:
        channels: width of the tokens.
        blocks: number of blocks.
        mixer: makes a block's token mixer from its width; several take turns, block by block.
        feed_forward: makes a block's feed-forward from its width.
        norm: LayerNorm before each mixer and feed-forward ("pre"), after each of their sums ("post", as in VisTR; for
            the additive schemes only), or none, as published for STTN.
        residual: "additive"; "checkpoint", the same with only each block's input kept for the backward pass;
            "reversible", two full-width streams that both start as the input and end as their mean, with nothing kept
            per block (FastSTTN, Escher et al., SIBGRAPI 2021, Eq. 3-6); "reversible_split", two streams of half the
            channels each, as FastSTTN's published network has them. Reversible streams are at least float32.
        residual_from_norm: let the skip connection around a mixer start from what LayerNorm gives, not from what enters
            the block: so DSTT was released, unlike its paper's figure. For the additive schemes only.
        recompute: whether the reversible schemes rebuild their activations; False computes the same function in plain
            autograd, faster and with memory that grows with depth.
        positions: adds positions to the tokens, such as `LearnedPositions`.
        positions_at: where: to the tokens that enter ("input"), or in every block to what tokens compare and choose by,
            not to what they pass on ("attention", as in VisTR; for `SinePositions`). Mixers without that distinction
            see tokens with positions. The half-width streams of "reversible_split" always take them at the input.
        final_norm: a LayerNorm after the last block, for heads that expect it from blocks with "pre".
        dropout: of what each mixer and feed-forward adds, in training.
    """

    def __init__(
        self,
        channels: int,
        *,
        blocks: int = 8,
        mixer: Callable[[int], nn.Module] | list[Callable[[int], nn.Module]] = PatchAttention,
        feed_forward: Callable[[int], nn.Module] = ConvFeedForward,
        norm: Norm = "none",
        residual: Residual = "additive",
        residual_from_norm: bool = False,
        recompute: bool = True,
        positions: nn.Module | None = None,
        positions_at: PositionsAt = "input",
        final_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("residual", residual, get_args(Residual)),
            ("norm", norm, get_args(Norm)),
            ("positions_at", positions_at, get_args(PositionsAt)),
        ):
            if value not in choices:
                raise ConfigurationError(f"unknown {name} '{value}': choose one of {', '.join(choices)}")
        if blocks < 1:
            raise ConfigurationError(f"a backbone needs at least one block, got blocks={blocks}")
        if residual == "reversible_split" and channels % 2:
            raise ConfigurationError(f"reversible_split halves the channels: {channels} is odd")
        if residual_from_norm and (norm != "pre" or residual.startswith("reversible")):
            raise ConfigurationError(
                f"residual_from_norm needs norm=pre and an additive scheme, got norm={norm}, residual={residual}:"
                " set residual_from_norm=false"
            )
        if norm == "post" and residual.startswith("reversible"):
            raise ConfigurationError(f"a block with norm=post cannot be rebuilt, as {residual} needs it: set norm=pre")
        if positions_at == "attention" and not callable(getattr(positions, "encode", None)):
            raise ConfigurationError("positions_at=attention needs positions such as SinePositions; or set it to input")
        mixers = mixer if isinstance(mixer, list) else [mixer]
        if not mixers or not all(map(callable, mixers)):
            raise ConfigurationError("mixer must be a class, or a list of at least one, and none of them null")
        if (width := getattr(positions, "channels", channels)) != channels:
            raise ConfigurationError(
                f"the positions have {width} channels and the backbone {channels}: give both the same"
            )
        self.channels = channels
        self.residual = residual
        self.recompute = recompute
        block_width = channels // 2 if residual == "reversible_split" else channels
        self.positions = positions
        self.positions_at: PositionsAt = "input" if residual == "reversible_split" else positions_at
        self.blocks = nn.ModuleList(
            Block(block_width, mixers[index % len(mixers)], feed_forward, norm, residual_from_norm, dropout)
            for index in range(blocks)
        )
        self.final_norm = nn.LayerNorm(channels) if final_norm else None

    def forward(
        self,
        x: Tensor,
        holes: Tensor | None = None,
        *,
        padding: Tensor | None = None,
        overwrite_x: bool = False,
    ) -> Tensor:
        """Transform tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: `(B, T, H, W)`, 1 = hole, for mixers that look at it.
            padding: `(B, T, H, W)` bool, True for tokens that are no part of the clip.
            overwrite_x: the caller does not need `x` any more, so its memory may be used when no gradient is needed.

        Returns:
            `(B, T, H, W, C)`.
        """
        if x.dim() != 5 or x.shape[-1] != self.channels:
            raise ValueError(f"expected tokens (B, T, H, W, {self.channels}), got {tuple(x.shape)}")
        positions = None
        if self.positions is not None and self.positions_at == "input":
            x, overwrite_x = self.positions(x), True
        elif self.positions is not None:
            positions = self.positions.encode(x, padding)  # type: ignore[operator]
        x = self._transform(x, TokenContext(holes, positions, padding), overwrite_x)
        return x if self.final_norm is None else self.final_norm(x)

    def _transform(self, x: Tensor, context: TokenContext, overwrite_x: bool) -> Tensor:
        blocks: list[Block] = list(self.blocks)  # type: ignore[arg-type]
        if self.residual == "checkpoint" and torch.is_grad_enabled():
            return checkpointed(blocks, x, context)
        if self.residual in ("additive", "checkpoint"):
            return additive(blocks, x, context, overwrite_x=overwrite_x)
        scheme = reversible if self.recompute and torch.is_grad_enabled() else coupled
        return self._join(*scheme(blocks, *self._streams(x, overwrite_x), context, dtype=x.dtype)).to(x.dtype)

    def _streams(self, x: Tensor, overwrite_x: bool) -> tuple[Tensor, Tensor]:
        """The streams' start, in memory of their own when no gradient is needed: the blocks then overwrite it."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self.residual == "reversible_split":
            first, second = x.chunk(2, dim=-1)
            contiguous = torch.contiguous_format
            return (
                first.to(dtype, copy=True, memory_format=contiguous),
                second.to(dtype, copy=True, memory_format=contiguous),
            )
        own = not torch.is_grad_enabled()
        return x.to(dtype, copy=own), x.to(dtype, copy=own and not overwrite_x)

    def _join(self, y1: Tensor, y2: Tensor) -> Tensor:
        if self.residual == "reversible_split":
            return torch.cat((y1, y2), dim=-1)
        return (y1 + y2).mul_(0.5)
