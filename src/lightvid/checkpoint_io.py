"""Writing checkpoints so that a run that dies while it writes keeps its previous one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from lightvid.errors import CheckpointError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the target, then rename.

    Lightning's own writer goes through the system's temporary folder, from which the file is copied, not renamed, when
    that folder is on another file system: killed during the copy, it leaves a broken checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Save to a local path; the file is either the old or the new one, whole, at any moment.

        Raises:
            CheckpointError: it cannot be written, for want of room for example; the old one is still there.
        """
        target = Path(path)
        partial = target.with_name(f".{target.name}.partial")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(checkpoint, partial)
            os.replace(partial, target)
            _flush_folder(target.parent)
        except Exception as error:
            partial.unlink(missing_ok=True)
            reason = _reason(error)
            if reason is None:
                raise
            kept = f"; resume={target.parent.parent} goes on from the one before" if target.exists() else ""
            raise CheckpointError(f"{target}: the checkpoint cannot be written ({reason}){kept}") from error


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    with path.open("wb") as stream:
        torch.save(checkpoint, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    """Let the new name outlast a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str | None:
    """What the system answered: torch's writer follows its error by one of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return None if cause is None else cause.strerror or str(cause)
