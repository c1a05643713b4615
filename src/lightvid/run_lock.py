"""One writer to a run folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from lightvid.errors import ConfigurationError

LOCK_FILE = ".lock"
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class RunLock:
    """Keeps other processes from writing into a run folder, until the block ends or the process does, however it ends.

    A POSIX record lock: data workers do not inherit it, so that a killed run can be resumed while they still end.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None

    def __enter__(self) -> RunLock:
        return self

    def take(self) -> None:
        """Lock the folder, which is made if it is missing.

        Raises:
            ConfigurationError: another process has it, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigurationError(
                f"{self.folder}: cannot write the run folder ({error.strerror}); choose another with out=FOLDER"
            ) from None
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in NO_LOCKS_HERE:  # some network file systems
                return
            raise ConfigurationError(
                f"{self.folder}: another process is writing this run now; name=NAME starts a run of another name"
            ) from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)  # and with it the lock
            self._file = None
