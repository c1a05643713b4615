"""The weights that a run begins with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lightvid.checkpoints.formats import Task as TaskName
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
    stems = [row for row in report.rows if row.part.endswith("stem")]
    if any(task.fine_tuning.concerns_stem for task in tasks.values()) and not any(row.report.matched for row in stems):
        logger.warning("the stem has its own start, yet is frozen or slowed down: task.pretrained_stem=false spares it")
    for task in tasks.values():
        if task.network_ema is not None:
            task.network_ema.module.load_state_dict(task.network.state_dict())
