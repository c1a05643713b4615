"""The weights that a run begins with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightvid.checkpoints.formats import Task as TaskName
from lightvid.checkpoints.runs import PARTS
from lightvid.checkpoints.transfer import initialise

if TYPE_CHECKING:
    from .base import Task

logger = logging.getLogger(__name__)


def start_from(source: str, tasks: Mapping[TaskName, Task]) -> None:
    """Fill the networks of tasks, and their averages, with what fits of a trained one, and say what did.

    Args:
        source: see `lightvid.checkpoints.transfer.initialise`.
        tasks: "inpaint" or "vis" -> its task, with all its parameters.
    """
    report = initialise({name: task.network for name, task in tasks.items()}, source)
    logger.info("%s", report)
    for name, task in tasks.items():
        prefix = f"{PARTS[name]}." if len(tasks) > 1 else ""
        if task.fine_tuning.concerns_stem and not report.matched(f"{prefix}stem"):
            logger.warning(
                "the %sstem has its own start, yet is frozen or slowed down: task.%spretrained_stem=false spares it",
                prefix,
                prefix,
            )
        if task.network_ema is not None:
            task.network_ema.module.load_state_dict(task.network.state_dict())
