"""Networks as programs of `torch.export`, which run without the code that describes them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lightvid.errors import ConfigurationError
from lightvid.networks import InpaintingGenerator, InstanceSegmenter

DESCRIPTION_FILE = "lightvid.json"
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Description:
    """What stands beside a program, as JSON under `DESCRIPTION_FILE` of its file.

    Attributes:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order.
        shape: `[B, T, 3, H, W]` of the frames that it was made with.
        free: which of "batch" and "frames" may be another number.
        operators: of this library, in it; `import lightvid.ops` makes them known before it is loaded.
    """

    inputs: list[str]
    outputs: list[str]
    shape: list[int]
    free: list[str]
    operators: list[str]


class RestoredFrames(nn.Module):
    """A generator with tensors for inputs and outputs: masked frames and masks to frames."""

    inputs = ("masked_frames", "masks")
    outputs = ("frames",)

    def __init__(self, network: InpaintingGenerator) -> None:
        super().__init__()
        self.network = network

    def forward(self, masked_frames: Tensor, masks: Tensor) -> tuple[Tensor]:
        """See `InpaintingGenerator.forward`."""
        return (self.network(masked_frames, masks).frames,)


class InstanceTensors(nn.Module):
    """A segmenter with tensors for inputs and outputs: frames to logits, boxes and masks."""

    inputs = ("frames",)
    outputs = ("logits", "boxes", "masks")

    def __init__(self, network: InstanceSegmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `InstanceSegmenter.forward` and `InstanceOutput`."""
        output = self.network(frames)
        return output.logits, output.boxes, output.masks


def export(
    network: nn.Module, *, size: tuple[int, int], frames: int, dynamic: bool = False
) -> tuple[ExportedProgram, Description]:
    """Trace a network in evaluation.

    Args:
        network: an `InpaintingGenerator` or an `InstanceSegmenter`, on the CPU. It gets no gradients any more.
        size: height and width of its frames, which the program keeps.
        frames: of a clip.
        dynamic: leave the number of clips and of frames open, as far as the network does; else one clip of `frames`.

    Raises:
        ConfigurationError: the network cannot be traced at this size.
    """
    part = _with_tensors(network).requires_grad_(False)  # programs write in place, where gradients would forbid it
    # A side of length 1 would be kept as it is.
    batch, length = (2, max(frames, 2)) if dynamic else (1, frames)
    inputs = random_inputs(part, (batch, length), size)
    shapes = tuple({0: Dim.AUTO, 1: Dim.AUTO} for _ in inputs) if dynamic else None
    try:
        with torch.no_grad():
            program = torch.export.export(part, inputs, dynamic_shapes=shapes)
    except Exception as error:  # the tracer raises whatever the traced code makes its parts raise
        raise ConfigurationError(
            f"this network cannot be exported at {size[1]}x{size[0]}: {_first_line(error)}"
        ) from error
    others = {"batch": (batch + 1, length), "frames": (batch, length + 1)} if dynamic else {}
    free = [name for name, sides in others.items() if _accepts(program, random_inputs(part, sides, size))]
    if dynamic and not free:
        return export(network, size=size, frames=frames)
    shape = [batch, length, 3, *size]
    return program, Description(list(part.inputs), list(part.outputs), shape, free, _operators(program))


def save(program: ExportedProgram, description: Description, path: Path, *, network: nn.Module) -> float:
    """Write a program and its description, read them back, and keep them if they answer as the network does.

    Until then the file, or an earlier one of its name, is as it was.

    Returns:
        The largest difference, see `difference`.

    Raises:
        ConfigurationError: the file cannot be written, or what was read back fails or differs by over `TOLERANCE`.
    """
    partial = path.with_name(f".partial-{path.name}")  # the name must end in .pt2
    extra = {DESCRIPTION_FILE: json.dumps(asdict(description), indent=1)}
    try:
        with _written(path):
            torch.export.save(program, partial, extra_files=extra)
        largest = difference(network, *load(partial))
        if largest > TOLERANCE:
            raise ConfigurationError(
                f"{path}: not kept, its answers differ from the network's by {largest:.2g}, more than {TOLERANCE:g}"
            )
        with _written(path):
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return largest


def load(path: Path) -> tuple[ExportedProgram, Description]:
    """Read what `save` has written."""
    extra = {DESCRIPTION_FILE: ""}
    program = torch.export.load(path, extra_files=extra)
    return program, Description(**json.loads(extra[DESCRIPTION_FILE]))


def difference(network: nn.Module, program: ExportedProgram, description: Description) -> float:
    """The largest difference of any output to the network's, for random frames, also of other free sides.

    It is infinite where an answer of either is not finite.

    Raises:
        ConfigurationError: the program does not take a side that it should leave free.
    """
    part, module = _with_tensors(network), program.module()
    batch, length, _, height, width = description.shape
    sides = {(batch, length), (3 if "batch" in description.free else batch, length)}
    if "frames" in description.free:
        sides |= {(1 if "batch" in description.free else batch, length + 3)}
    differences = []
    with torch.no_grad():
        for side in sorted(sides):
            inputs = random_inputs(part, side, (height, width))
            try:
                answers = module(*inputs)
            except Exception as error:  # a guard is an assertion, and what it missed any error
                raise ConfigurationError(
                    f"the exported program fails for {side[0]} clips of {side[1]} frames: leave out --dynamic"
                    f" ({_first_line(error)})"
                ) from error
            for answer, expected in zip(answers, part(*inputs), strict=True):
                differences.append((answer - expected).abs().max())
    largest = float(torch.stack(differences).max())
    return largest if math.isfinite(largest) else math.inf


def random_inputs(part: nn.Module, sides: tuple[int, int], size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Inputs of that many clips and frames, always the same: normal, and for a generator with a quarter of holes."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(*sides, 3, *size, generator=generator)
    if not isinstance(part, RestoredFrames):
        return (frames,)
    masks = (torch.rand(*sides, 1, *size, generator=generator) < 0.25).float()
    return frames.clamp(-1, 1) * (1 - masks), masks


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # the archive's writer has no other error for a full disk
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise ConfigurationError(f"{path}: cannot be written ({reason})") from None


def _with_tensors(network: nn.Module) -> RestoredFrames | InstanceTensors:
    if isinstance(network, InpaintingGenerator):
        return RestoredFrames(network).eval()
    if isinstance(network, InstanceSegmenter):
        return InstanceTensors(network).eval()
    raise ConfigurationError(f"{type(network).__name__} cannot be exported: give a generator or an instance segmenter")


def _accepts(program: ExportedProgram, inputs: tuple[Tensor, ...]) -> bool:
    """Whether these sides pass: a dimension may be open and what the network does with it fix it all the same."""
    try:
        program.module()(*inputs)
    except (AssertionError, RuntimeError):  # a guard, or an operator after it
        return False
    return True


def _operators(program: ExportedProgram) -> list[str]:
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    return sorted(target.removesuffix(".default") for target in targets if target.startswith("lightvid."))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
