"""The query decoder of VisTR and Deformable VisTR: instances from tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightvid.attention.cross import CrossAttention, Memory, References
from lightvid.backbone.initialisation import start_as_published
from lightvid.errors import ConfigurationError
from lightvid.heads.decoder_layer import DecoderLayer
from lightvid.heads.queries import InstanceQueries, valid_part
from lightvid.ops import without_autocast

Classification = Literal["sigmoid", "softmax"]
PRIOR = 0.01  # probability of a class at the start


class DecoderOutput(NamedTuple):
    """Queries after the last layer, and the predictions of every layer.

    Attributes:
        queries: `(B, T, I, C)`, normalised.
        logits: of each layer, `(B, T, I, n)`.
        boxes: of each layer, `(B, T, I, 4)`: centre x, centre y, width, height in [0, 1] of the clip without padding.
        extra: see `InstanceOutput`.
    """

    queries: Tensor
    logits: list[Tensor]
    boxes: list[Tensor]
    extra: dict[str, Tensor]


class QueryDecoder(nn.Module):
    """Layers of `DecoderLayer` over object queries, with heads for classes and boxes after each of them.

    Deformable cross-attention needs a reference for every query. As the paper leaves it open, it is, without box
    refinement, `sigmoid(linear(query's position))` for x and y and the centre of the query's own frame in time, for all
    layers; with refinement it is the box that the layer before predicts (Deformable DETR, Zhu et al., ICLR 2021).

    Args:
        channels: width of tokens and queries.
        classes: number of classes; None leaves the class heads to `set_classes`.
        queries: makes the queries from the width: `LearnedQueries` (VisTR), `InstanceQueries`, `CentreQueries`.
        layers: number of layers.
        cross_attention: makes a layer's attention to the clip: `CrossAttention` or `DeformableCrossAttention`.
        heads: of the attention among queries.
        hidden: width inside the feed-forwards.
        dropout: see `DecoderLayer`.
        classification: "sigmoid", a logit for each class, or "softmax" as VisTR, see `InstancePrediction`.
        refine_boxes: every layer has heads of its own and corrects the box of the one before; else all layers share
            their heads, which predict boxes anew, as VisTR.
    """

    def __init__(
        self,
        channels: int,
        *,
        classes: int | None = None,
        queries: Callable[[int], nn.Module] = InstanceQueries,
        layers: int = 6,
        cross_attention: Callable[[int], nn.Module] = CrossAttention,
        heads: int = 8,
        hidden: int = 2048,
        dropout: float = 0.0,
        classification: Classification = "sigmoid",
        refine_boxes: bool = False,
    ) -> None:
        super().__init__()
        if classification not in get_args(Classification):
            raise ConfigurationError(
                f"unknown classification '{classification}': choose one of {', '.join(get_args(Classification))}"
            )
        if layers < 1:
            raise ConfigurationError(f"a decoder needs at least one layer, got layers={layers}")
        self.channels = channels
        self.classification: Classification = classification
        self.refine_boxes = refine_boxes
        self.queries = queries(channels)
        self.layers = nn.ModuleList(
            DecoderLayer(channels, cross_attention, heads=heads, hidden=hidden, dropout=dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)
        start_as_published(self.layers)
        needs_reference = refine_boxes or hasattr(self.layers[0].cross_attention, "sampling")
        is_given = refine_boxes and getattr(self.queries, "gives_boxes", False)
        self.reference = nn.Linear(channels, 4 if refine_boxes else 2) if needs_reference and not is_given else None
        box_head = BoxHead(channels, starts_at_zero=refine_boxes)
        self.box_heads = nn.ModuleList(copy.deepcopy(box_head) for _ in range(layers if refine_boxes else 1))
        self.classes: int | None = None
        self.class_heads = nn.ModuleList()
        if classes is not None:
            self.set_classes(classes)

    @property
    def number_of_logits(self) -> int:
        """n of `InstancePrediction`."""
        assert self.classes is not None
        return self.classes if self.classification == "sigmoid" else self.classes + 2

    def set_classes(self, classes: int) -> None:
        """Make the class heads, where the number of classes is known only from the data.

        Raises:
            ConfigurationError: they are made for another number.
        """
        if self.classes not in (None, classes):
            raise ConfigurationError(
                f"the network has {self.classes} classes, the data {classes}: set decoder.classes to null or {classes}"
            )
        if self.classes is None:
            self.classes = classes
            head = nn.Linear(self.channels, self.number_of_logits)
            if self.classification == "sigmoid":
                nn.init.constant_(head.bias, -math.log((1 - PRIOR) / PRIOR))
            self.class_heads.extend(copy.deepcopy(head) for _ in self.box_heads)
            if callable(prepare := getattr(self.queries, "set_classes", None)):
                prepare(classes)

    def forward(self, memory: Memory) -> DecoderOutput:
        """Find instances in a clip."""
        if self.classes is None:
            raise ConfigurationError(
                "the decoder does not know its number of classes: give classes, or call set_classes"
            )
        start = self.queries(memory)
        batch, frames = start.content.shape[:2]
        content, positions = start.content.flatten(1, 2), start.positions.flatten(1, 2)
        boxes = self._first_boxes(start.positions.expand(batch, -1, -1, -1), start.boxes)
        logits_of_layers, boxes_of_layers = [], []
        for index, layer in enumerate(self.layers):
            content = layer(content, positions, memory, self._references(boxes, memory.padding, frames))
            normed = self.norm(content).unflatten(1, (frames, -1))
            head = index if self.refine_boxes else 0
            logits_of_layers.append(self.class_heads[head](normed).float())
            with without_autocast(normed.device):  # half precision moves boxes by pixels
                correction = self.box_heads[head](normed.float())
            if self.refine_boxes:
                assert boxes is not None
                correction = correction + boxes
                boxes = correction.detach()
            boxes_of_layers.append(correction.sigmoid())
        return DecoderOutput(normed, logits_of_layers, boxes_of_layers, start.extra)

    def _first_boxes(self, positions: Tensor, given: Tensor | None) -> Tensor | None:
        """Logits of reference points or boxes, `(B, T, I, 2 or 4)`."""
        if given is not None and self.refine_boxes:
            return given.float()
        if self.reference is None:
            return None
        with without_autocast(positions.device):
            return self.reference(positions.to(self.reference.weight.dtype)).float()

    def _references(self, boxes: Tensor | None, padding: Tensor | None, frames: int) -> References:
        """Points and sizes in the whole map from logits that count from its part without padding."""
        device = self.norm.weight.device
        if boxes is None:
            return References(torch.empty(0, device=device))
        inside = boxes.sigmoid()
        if padding is not None:
            inside = inside * valid_part(padding).repeat(1, 1, inside.shape[-1] // 2).unsqueeze(2)
        time = ((torch.arange(frames, device=device) + 0.5) / frames).view(1, -1, 1, 1).expand(*inside.shape[:3], 1)
        points = torch.cat((inside[..., :2], time), dim=-1).flatten(1, 2)
        return References(points, inside[..., 2:].flatten(1, 2) if inside.shape[-1] == 4 else None)


class BoxHead(nn.Module):
    """Three linear layers to the logits of a box.

    Args:
        channels: width of the queries.
        starts_at_zero: begin by predicting no change.
    """

    def __init__(self, channels: int, *, starts_at_zero: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels, width) for width in (channels, channels, 4))
        if starts_at_zero:
            nn.init.zeros_(self.layers[2].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.layers[2].bias)  # type: ignore[arg-type]

    def forward(self, queries: Tensor) -> Tensor:
        """`(..., C)` to `(..., 4)`."""
        return self.layers[2](F.relu(self.layers[1](F.relu(self.layers[0](queries)))))
