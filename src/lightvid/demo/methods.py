"""The ways to fill holes that the page offers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightvid.inpainting.restorers import RestorerOptions

RUNS = Path("runs/inpaint")
NEWEST = 5
WITHOUT = "without a checkpoint (flow propagation)"

Methods = dict[str, RestorerOptions]


def find_methods(checkpoint: Path | None, published: Sequence[tuple[str, Path]], *, device: str) -> Methods:
    """By the names that visitors choose from, the preferred one first.

    Args:
        checkpoint: of a run. If neither this nor a published one is given, those of the newest runs are offered.
        published: names and files.
        device: of the networks.
    """
    given = {} if checkpoint is None else {f"checkpoint {_run_name(checkpoint)}": checkpoint}
    if not given and not published:
        found = sorted(RUNS.glob("*/checkpoints/best.ckpt"), key=lambda file: file.stat().st_mtime, reverse=True)
        given = {f"run {_run_name(file)}": file for file in found[:NEWEST]}
    without = {WITHOUT: RestorerOptions()}
    runs = {label: RestorerOptions(checkpoint=file, device=device) for label, file in given.items()}
    networks = {name: RestorerOptions(published=(name, file), device=device) for name, file in published}
    asked_for = checkpoint is not None or bool(published)
    return {**networks, **runs, **without} if asked_for else {**without, **runs}


def _run_name(file: Path) -> str:
    """RUN of runs/inpaint/RUN/checkpoints/best.ckpt, or the file's name."""
    return file.parents[1].name if file.parent.name == "checkpoints" else file.name
