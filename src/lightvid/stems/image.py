"""Image backbones of the `transformers` library as stems."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightvid.checkpoint_reading import read, tensors_of
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.ops import maps_to_tokens
from lightvid.stems.normalisation import Normalisation, replace_batch_norm
from lightvid.stems.output import PyramidOutput
from lightvid.stems.resnet_names import resnet_names

RESNET_DEPTHS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}
TRIAL_SIDE = 256


class ImageStem(nn.Module):
    """An image backbone on every frame, and a 1x1 convolution from one of its maps to the tokens (VisTR, DETR).

    Args:
        channels: width of the tokens.
        model: "resnet50" or "resnet101", made without a download; "resnet" with `options`; or any backbone of
            `transformers` by its name on the hub or its folder, such as "facebook/convnextv2-tiny-22k-224".
        options: of `transformers.ResNetConfig`, for the three names above.
        weights: a local file of ResNet weights under torchvision's names; a hub model brings its own.
        tokens_from: which map becomes tokens, counted from the coarsest: -1, or -2 for one of twice the resolution.
        normalisation: what stands in place of batch normalisation: "frozen" statistics, as published; "group" for
            training from nothing; "batch" leaves it.
        frozen: how many parts, the first layers and then the stages, do not learn; published: 2. -1 freezes all.
        recompute: compute the maps again in the backward pass instead of keeping what lies inside.

    Attributes:
        feature_channels: channels of the maps, the finest first.
        strides: pixels from one cell of each map to the next; the first is 4.
    """

    def __init__(
        self,
        channels: int,
        *,
        model: str = "resnet50",
        options: dict[str, Any] | None = None,
        weights: str | None = None,
        tokens_from: int = -1,
        normalisation: Normalisation = "frozen",
        frozen: int = 2,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if normalisation not in get_args(Normalisation):
            raise ConfigurationError(
                f"unknown normalisation '{normalisation}': choose one of {', '.join(get_args(Normalisation))}"
            )
        self.channels = channels
        self.recompute = recompute
        self.body = make_backbone(model, options)
        if weights is not None:
            load_resnet_weights(self.body, Path(weights).expanduser())
        replace_batch_norm(self.body, normalisation)
        self.feature_channels: list[int] = list(self.body.channels)  # type: ignore[arg-type]
        self.strides = find_strides(self.body, model)
        self.multiple = 1 if _is_resnet(self.body) else math.lcm(*self.strides)  # a ResNet rounds sizes up by itself
        if not -len(self.feature_channels) <= tokens_from < 0:
            raise ConfigurationError(
                f"tokens_from counts maps from the coarsest: -1 to -{len(self.feature_channels)}, got {tokens_from}"
            )
        self.tokens_from = tokens_from
        self.projection = nn.Conv2d(self.feature_channels[tokens_from], channels, 1)
        freeze(self.body, frozen)

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> PyramidOutput:
        """Frames `(B, T, 3, H, W)` and their padding `(B, T, H, W)`, True where there is none, to tokens and maps.

        A map of stride s is `(ceil(H / s), ceil(W / s))`, whatever the backbone does at the edges.
        """
        height, width = frames.shape[-2:]
        filled = F.pad(frames.flatten(0, 1), (0, -width % self.multiple, 0, -height % self.multiple))
        maps = [
            feature_map[..., : math.ceil(height / stride), : math.ceil(width / stride)]
            for feature_map, stride in zip(self._maps(filled), self.strides, strict=True)
        ]
        tokens = maps_to_tokens(self.projection(maps[self.tokens_from]), frames.shape[0])
        if padding is not None:
            stride = self.strides[self.tokens_from]
            padding = padding[:, :, ::stride, ::stride]
        return PyramidOutput(tokens, maps, padding)

    def _maps(self, frames: Tensor) -> list[Tensor]:
        frames = frames.contiguous(memory_format=torch.channels_last)
        if self.recompute and torch.is_grad_enabled():
            return list(torch.utils.checkpoint.checkpoint(self._encode, frames, use_reentrant=False))
        return list(self._encode(frames))

    def _encode(self, frames: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.body(frames).feature_maps)


def make_backbone(model: str, options: dict[str, Any] | None) -> nn.Module:
    """A backbone of `transformers` that gives the maps of all its stages.

    Raises:
        ConfigurationError: no such model, or options that the configuration does not take.
    """
    from transformers import AutoBackbone, ResNetConfig  # three seconds

    if model not in ("resnet", *RESNET_DEPTHS):
        if options:
            raise ConfigurationError(f"options are for resnet, resnet50 and resnet101, not for {model}: leave them out")
        return _pretrained(model)
    given: dict[str, Any] = {"depths": RESNET_DEPTHS[model]} if model in RESNET_DEPTHS else {}
    given |= options or {}
    if unknown := set(given) - {"embedding_size", "hidden_sizes", "depths", "layer_type", "hidden_act"}:
        raise ConfigurationError(f"unknown option '{unknown.pop()}' of a ResNet: see transformers.ResNetConfig")
    stages = len(given.get("depths", RESNET_DEPTHS["resnet50"]))
    names = [f"stage{number}" for number in range(1, stages + 1)]
    return AutoBackbone.from_config(ResNetConfig(**given, out_features=names))  # type: ignore[call-arg]


def _pretrained(model: str) -> nn.Module:
    from transformers import MODEL_FOR_BACKBONE_MAPPING, AutoConfig

    try:
        configuration = AutoConfig.from_pretrained(model)
        stages = [name for name in configuration.stage_names if name != "stem"]
        # AutoBackbone.from_pretrained would ask the hub even for a folder
        backbone: Any = MODEL_FOR_BACKBONE_MAPPING[type(configuration)]
        return backbone.from_pretrained(model, out_features=stages, dtype=torch.float32)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigurationError(
            f"'{model}' is no image backbone: give resnet50, resnet101, a folder or a name of the hub ({reason})"
        ) from None


@torch.no_grad()
def find_strides(body: nn.Module, model: str) -> list[int]:
    """Pixels from one cell of each map to the next; of other models than ResNets measured on a frame.

    Raises:
        ConfigurationError: the body takes no frames of this size, or its first map is not of 1/4.
    """
    if _is_resnet(body):
        channels: Any = body.channels
        return [4 * 2**stage for stage in range(len(channels))]
    trial = copy.deepcopy(body).eval()  # some models note the size that they are called with
    try:
        maps = trial(torch.zeros(1, 3, TRIAL_SIDE, TRIAL_SIDE, device=next(body.parameters()).device)).feature_maps
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"'{model}' does not encode frames of any size, choose another model ({reason})"
        ) from None
    strides = [TRIAL_SIDE // feature_map.shape[-1] for feature_map in maps]
    if maps[0].ndim != 4 or strides[0] != 4:
        raise ConfigurationError(
            f"'{model}' has its first map at 1/{strides[0]} of the frames, the heads need 1/4: choose a model of"
            " several resolutions, such as a ResNet, Swin or ConvNeXt"
        )
    return strides


def _is_resnet(body: nn.Module) -> bool:
    configuration: Any = body.config
    return configuration.model_type == "resnet"


def load_resnet_weights(body: nn.Module, path: Path) -> None:
    """Fill a ResNet from a local file with torchvision's names.

    Raises:
        ConfigurationError: the body is no ResNet.
        CheckpointError: no such file, or tensors that do not fit.
    """
    if not _is_resnet(body):
        raise ConfigurationError(f"weights: {path} is for a ResNet, other models bring their own: leave it out")
    tensors = tensors_of(read(path), str(path))
    names = resnet_names(body)
    missing = sorted(set(names) - set(tensors))
    if missing:
        raise CheckpointError(f"{path}: {missing[0]} is not in it, so these are no weights of this ResNet")
    try:
        body.load_state_dict({mine: tensors[name] for name, mine in names.items()}, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[1].strip()}") from None


def freeze(body: nn.Module, parts: int) -> None:
    """Let the first parts of a backbone not learn: its first layers, then its stages; -1 stands for all of it.

    Raises:
        ConfigurationError: it has fewer parts.
    """
    if parts < 0:
        body.requires_grad_(False)
        return
    base: nn.Module = getattr(body, "base_model", body)  # some backbones hold their layers one level deeper
    embedder = getattr(base, "embedder", None) or getattr(base, "embeddings", None)
    encoder = getattr(base, "encoder", None)
    stages = getattr(encoder, "stages", None) or getattr(encoder, "layers", None) or []
    found = [part for part in (embedder, *stages) if part is not None]
    if parts > len(found):
        raise ConfigurationError(
            f"frozen: {parts} parts of {len(found)}, the first layers and the stages; -1 freezes all"
        )
    for part in found[:parts]:
        part.requires_grad_(False)
