"""Reading checkpoint files without running what they hold."""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightvid.errors import CheckpointError

Tensors = dict[str, Tensor]

# Where released trainers put the tensors; a file may also hold them at its top.
CONTAINERS = ("netG", "netD", "state_dict", "params", "model")


def read(path: Path) -> Mapping[str, Any]:
    """Read a file with PyTorch's restricted loader, which builds tensors and plain containers and nothing else.

    The one class that it may make besides is `argparse.Namespace`, in which detectors' trainers save their arguments.

    Raises:
        CheckpointError: no file, not a checkpoint, or one that holds more than tensors and plain containers.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # of pickle protocols; what matters is said in the errors below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises whatever a broken file makes its parts raise
        if refused := re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class) ([\w.]+)", str(error)):
            name = refused[1] or refused[2]
            raise CheckpointError(
                f"{path}: holds objects that need code ({name}), which is never run; save a plain state_dict instead"
            ) from None
        raise CheckpointError(f"{path}: is not a PyTorch checkpoint, or is damaged") from None
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a dictionary of tensors")
    return content


def tensors_of(content: Mapping[str, Any], source: str) -> Tensors:
    """The tensors of a published checkpoint, out of its container and without the prefix of data parallel training.

    Raises:
        CheckpointError: there are none.
    """
    for container in CONTAINERS:
        if isinstance(content.get(container), Mapping):
            content = content[container]
            break
    tensors = {str(name).removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{source}: no tensors at its top or under {', '.join(CONTAINERS)}; it holds {', '.join(map(str, content))}"
        )
    return tensors
