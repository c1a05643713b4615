"""The restorer that options describe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lightvid.errors import ConfigurationError
from lightvid.inpainting.blending import Blend
from lightvid.inpainting.video import MaskedVideo, Restorer

if TYPE_CHECKING:
    import torch

    from lightvid.networks import InpaintingGenerator

Precision = Literal["fp32", "bf16", "fp16"]
Protocol = Literal["default", "published"]
NETWORK_SIZE = (240, 432)  # what networks are trained at


@dataclass(frozen=True)
class RestorerOptions:
    """How holes are filled; what is None is left to the restorer.

    Attributes:
        checkpoint: of a run.
        published: name and file of a published checkpoint. Without either, known pixels are propagated along optical
            flow, which needs no training.
        protocol: of a network's windows: "default", or as the published scripts do it, slower.
        window: neighbouring frames that a network restores together.
        stride: from one window to the next, in frames.
        references: at most so many frames of the rest of the video are looked at for a window.
        blend: of overlapping windows.
        propagate_first: give the network a video in which flow has already filled what it can.
        device: of the network.
        precision: of the network's autocast.
        working_size: height and width in pixels; from larger frames the surroundings of the holes are cut out, and
            scaled down to it where they are still larger. `NETWORK_SIZE` for networks, no limit for propagation.
        whole_frame: no limit for networks either.
    """

    checkpoint: Path | None = None
    published: tuple[str, Path] | None = None
    protocol: Protocol = "default"
    window: int | None = None
    stride: int | None = None
    references: int | None = None
    blend: Blend | None = None
    propagate_first: bool = False
    device: str = "cpu"
    precision: Precision = "fp32"
    working_size: tuple[int, int] | None = None
    whole_frame: bool = False


def make_restorer(options: RestorerOptions) -> Restorer:
    """Load the network, if one is asked for, and build the restorer.

    Raises:
        LightvidError: an unsuitable checkpoint, or options that do not go together.
    """
    network = _load_network(options)
    if network is not None:
        restorer = _network_restorer(network, options)
    else:
        _refuse_network_options(options)
        from lightvid.propagation import PropagationRestorer

        restorer = PropagationRestorer()
    size = options.working_size or (NETWORK_SIZE if network is not None else None)
    if size is None or options.whole_frame:
        return restorer
    from lightvid.inpainting.regions import RegionRestorer

    return RegionRestorer(restorer, working_size=size)


def _load_network(options: RestorerOptions) -> InpaintingGenerator | None:
    from lightvid.checkpoints import load_generator

    if options.published is not None:
        return load_generator(*options.published)
    return None if options.checkpoint is None else load_generator(None, options.checkpoint)


def _network_restorer(network: InpaintingGenerator, options: RestorerOptions) -> Restorer:
    if options.protocol == "published":
        return _published_restorer(network, options)
    from lightvid.inpainting.network_restorer import NetworkRestorer

    given = {"window": options.window, "stride": options.stride, "max_references": options.references}
    return NetworkRestorer(
        network,
        **{name: value for name, value in given.items() if value is not None},
        blend=options.blend or "triangular",
        propagate_first=_propagated if options.propagate_first else None,
        device=options.device,
        precision=_autocast(options.precision),
    )


def _published_restorer(network: InpaintingGenerator, options: RestorerOptions) -> Restorer:
    if options.window or options.blend or options.propagate_first:
        raise ConfigurationError("--protocol published: has its own windows and blending (give --stride, --references)")
    from lightvid.inpainting.published import PublishedRestorer

    return PublishedRestorer(
        network,
        neighbour_stride=options.stride or 5,
        references=options.references,
        device=options.device,
        precision=_autocast(options.precision),
    )


def _refuse_network_options(options: RestorerOptions) -> None:
    defaults = RestorerOptions()
    for name in ("protocol", "window", "stride", "references", "blend", "propagate_first", "precision"):
        if getattr(options, name) != getattr(defaults, name):
            flag = name.replace("_", "-")
            raise ConfigurationError(f"--{flag}: is for networks (give --checkpoint FILE or --published NAME=FILE)")


def _propagated(video: MaskedVideo) -> MaskedVideo:
    from lightvid.propagation import PropagatedVideo

    return PropagatedVideo(video)


def _autocast(precision: Precision) -> torch.dtype | None:
    import torch

    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
