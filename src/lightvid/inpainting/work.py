"""A folder beside an output that holds what is finished, so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lightvid.errors import ConfigurationError, DataError

JOB = "job.json"
UNFINISHED = f"{JOB}.partial"
Job = Mapping[str, object]


class WorkFolder:
    """`OUT.partial`: the finished parts of OUT, and what they were made from.

    Attributes:
        path: of the folder.
        out: what will be there at the end.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.with_name(f"{out.name}.partial")

    def begin(self, job: Job, *, resume: bool, overwrite: bool) -> None:
        """Make the folder, or go on with the one that is there.

        Args:
            job: everything that the result depends on, for JSON.
            resume: go on with what is there, if there is something.
            overwrite: without `resume`, start again; and replace OUT at the end.

        Raises:
            ConfigurationError: OUT or the folder exists and neither was asked for, another job began it, or the folder
                is not one of these.
            OSError: the folder cannot be made.
        """
        job = json.loads(json.dumps(job))
        if not overwrite:
            self._refuse_existing()
        if self.path.exists() and not self._is_empty():
            begun = self._begun()
            if resume:
                self._check_same(begun, job)
                return
            if not overwrite:
                raise ConfigurationError(
                    f"{self.path}: an unfinished run is there (--resume goes on with it, --overwrite starts again)"
                )
        self.remove()
        self.path.mkdir(parents=True)
        partial = self.path / UNFINISHED
        partial.write_text(json.dumps({"out": self.out.name, "job": job}, indent=1))
        os.replace(partial, self.path / JOB)

    def finish(self, result: Path) -> None:
        """Put a file or folder, which lies in this one, in the place of OUT, and remove this one."""
        if self.out.is_dir():
            self.out.rename(self.path / "replaced")
        os.replace(result, self.out)
        self.remove()

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def _refuse_existing(self) -> None:
        if self.out.is_dir() and not any(self.out.iterdir()):
            return
        if self.out.exists():
            raise ConfigurationError(f"{self.out}: exists already (--overwrite replaces it)")

    def _is_empty(self) -> bool:
        """Whether a run was stopped before it had written its job."""
        return self.path.is_dir() and {file.name for file in self.path.iterdir()} <= {UNFINISHED}

    def _begun(self) -> Job:
        """The job that made this folder; only such a folder is ever removed."""
        try:
            content = json.loads((self.path / JOB).read_text())
            if content["out"] == self.out.name:
                return dict(content["job"])
        except (OSError, ValueError, TypeError, KeyError):
            pass
        raise ConfigurationError(f"{self.path}: no unfinished run in it (move it away, or choose another name for OUT)")

    def _check_same(self, begun: Job, job: Job) -> None:
        again = "--overwrite without --resume starts again"
        for name in dict.fromkeys((*begun, *job)):
            if begun.get(name) != job.get(name):
                change = f"was {begun.get(name)} and is {job.get(name)} now"
                if isinstance(job.get(name), str) and str(job[name]).startswith(FINGERPRINT):
                    change = "is not what it was when the run began"
                raise ConfigurationError(f"--resume: {name} {change}: give what was given then, or {again}")


FINGERPRINT = "sha256:"


def fingerprint(path: Path) -> str:
    """A short text that changes when a file, or the files of a folder, are changed: of names, sizes and times.

    Raises:
        DataError: there is nothing.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        entries = [(file.name, status.st_size, status.st_mtime_ns) for file in files if (status := file.stat())]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return FINGERPRINT + hashlib.sha256(repr(entries).encode()).hexdigest()[:16]
