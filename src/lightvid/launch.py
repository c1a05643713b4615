"""Which of several processes this is, as their launcher tells in the environment, before they know one another."""

from __future__ import annotations

import os

RUN_DIR = "LIGHTVID_RUN_DIR"
"""In the environment: the run folder, for processes that another has started, or that one command starts each."""


def is_main() -> bool:
    """Whether this is the first process of all, the one that writes."""
    if _by_torchrun():
        return os.environ.get("RANK", "0") == "0"
    if _by_slurm():
        return os.environ.get("SLURM_PROCID", "0") == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))


def starts_apart() -> bool:
    """Whether each process (of torchrun or SLURM), or the first of each node, composes its configuration by itself.

    Such processes have to be told the name of their run; others get the folder from the process that starts them.
    """
    is_first_of_node = "NODE_RANK" in os.environ and "LOCAL_RANK" not in os.environ
    return _by_torchrun() or (_by_slurm() and os.environ["SLURM_NTASKS"] != "1") or is_first_of_node


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _by_slurm() -> bool:
    """By srun, and not from a shell in an allocation: as Lightning decides it."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
