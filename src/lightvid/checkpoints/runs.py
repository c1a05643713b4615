"""Networks from the checkpoints that this project's runs write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lightvid.checkpoint_reading import Tensors
from lightvid.checkpoints.building import build
from lightvid.checkpoints.categories import describe
from lightvid.checkpoints.formats import Role, Task
from lightvid.checkpoints.report import CheckpointReport, fill
from lightvid.errors import CheckpointError
from lightvid.networks import InstanceSegmenter

# The configuration, and the data's `[[id, name], ...]` that runs with instances add.
CONFIGURATION = "lightvid_config"
CATEGORIES = "categories"

# What a run with task=joint calls the two tasks it is made of.
PARTS: dict[Task, str] = {"inpaint": "inpainting", "vis": "segmentation"}
NAMES: dict[Task, str] = {"inpaint": "sttn (or another generator's name) or t_patchgan", "vis": "vis"}


def load_run(content: Mapping[str, Any], label: str, *, task: Task, role: Role) -> tuple[nn.Module, CheckpointReport]:
    """The network that a run's configuration describes, filled, an averaged one preferred.

    Args:
        content: of the checkpoint.
        label: what to call it in messages.
        task: that the run should have trained, alone or with task=joint.
        role: the part of it.

    Raises:
        CheckpointError: of another task, without such a part, or not as a run writes it.
    """
    try:
        arguments, state = content[CONFIGURATION]["task"]["init_args"], content["state_dict"]
        trained = _trained(content, arguments)
        if task not in trained:
            names = [NAMES[part] for part in trained]
            which = "joint" if len(trained) > 1 else trained[0]
            raise CheckpointError(f"{label}: a checkpoint of a run with task={which}: load it as {', '.join(names)}")
        if len(trained) > 1:
            arguments, state = arguments[PARTS[task]]["init_args"], _below(state, f"{PARTS[task]}.")
        tree = arguments[role]
    except (KeyError, TypeError, AttributeError):
        tree = state = None
    if not isinstance(tree, Mapping) or not isinstance(state, Mapping):
        raise CheckpointError(f"{label}: a checkpoint of a run, but it describes no {role}")
    network = build(_without_weights(tree))
    if task == "vis":
        _prepare_segmenter(network, arguments, content[CATEGORIES], label)
    averaged = _below(state, f"{role}_ema.module.")
    return network, fill(network, averaged or _below(state, f"{role}."), label)


def _trained(content: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Task]:
    """The tasks that a run trained."""
    if all(part in arguments for part in PARTS.values()):
        return list(PARTS)
    return ["vis" if CATEGORIES in content else "inpaint"]


def _prepare_segmenter(network: nn.Module, arguments: Mapping[str, Any], categories: Any, label: str) -> None:
    """Make the class heads of the run's data, and let the network say what it was trained for."""
    try:
        pairs = [(int(number), str(name)) for number, name in categories]
    except (TypeError, ValueError):
        raise CheckpointError(f"{label}: its categories are no list of id and name") from None
    if not isinstance(network, InstanceSegmenter):
        raise CheckpointError(f"{label}: has categories, but its network is no InstanceSegmenter")
    network.set_classes(len(pairs))
    describe(
        network,
        pairs,
        frames=arguments.get("window", 36),  # the defaults are those of `InstanceSegmentation`
        shortest=arguments.get("shortest", 300),
        longest=arguments.get("longest", 540),
        overlap=arguments.get("overlap"),
    )


def _without_weights(tree: Any) -> Any:
    """The tree without the files that its parts started from: the checkpoint holds all, and the files may be gone."""
    if isinstance(tree, Mapping):
        return {name: _without_weights(value) for name, value in tree.items() if name != "weights"}
    return [_without_weights(value) for value in tree] if isinstance(tree, list) else tree


def _below(state: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
