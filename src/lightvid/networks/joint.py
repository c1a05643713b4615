"""Parts that an inpainting network and one for instances have in common."""

from __future__ import annotations

from torch import nn

from lightvid.errors import ConfigurationError
from lightvid.networks.generator import InpaintingGenerator
from lightvid.networks.instance_segmenter import InstanceSegmenter
from lightvid.stems import ImageInpaintingStem


def share_parts(generator: InpaintingGenerator, segmenter: InstanceSegmenter, *, stem: bool = False) -> None:
    """Let both networks be one from their tokens on: the segmenter takes the generator's backbone for its own.

    Args:
        generator: keeps its parts.
        segmenter: gives up its own in their favour.
        stem: share the image stem, too; the generator's stem is then an `ImageInpaintingStem`.

    Raises:
        ConfigurationError: the parts to share differ, or the generator has no image stem.
    """
    _check_equal("backbone", generator.backbone, segmenter.backbone)
    if stem:
        if not isinstance(generator.stem, ImageInpaintingStem):
            raise ConfigurationError(
                f"a {type(generator.stem).__name__} has nothing to share with the stem of a network for instances:"
                " give the generator an ImageInpaintingStem (backbone=shared_stem), or set share_stem=false"
            )
        _check_equal("image stem", generator.stem.image, segmenter.stem)
        segmenter.stem = generator.stem.image
    segmenter.backbone = generator.backbone


def _check_equal(name: str, part: nn.Module, other: nn.Module) -> None:
    """Refuse parts that are not made alike."""
    shapes, other_shapes = ({key: value.shape for key, value in p.state_dict().items()} for p in (part, other))
    if str(part) != str(other) or shapes != other_shapes:
        raise ConfigurationError(
            f"the two networks have different {name}s, and a joint run has one: describe them once, and let both refer"
            " to it"
        )
