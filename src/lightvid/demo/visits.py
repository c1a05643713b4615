"""Who is on the page, and where their files are: each open page has a folder, which is deleted when it is closed."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterable
from hmac import compare_digest
from pathlib import Path

from lightvid.errors import DataError
from lightvid.inpainting.opening import open_frames
from lightvid.video.reading import ImageSequence
from lightvid.video.streaming import FrameStream

IDLE = 3600.0  # seconds after which a page that says nothing counts as closed
ABANDONED = 600.0  # seconds after which an upload that no page has taken is deleted
SWEEP = 30.0  # seconds between looks at both
TOKEN = re.compile(r"[\w-]{43}")


class Stopped(Exception):  # noqa: N818 - no mistake of anyone
    """The visitor has stopped the job, or closed the page."""


class Visit:
    """One open page.

    Attributes:
        folder: with a name that cannot be guessed.
        visitor: the browser's token.
        clip: that was chosen, None before.
        clip_path: where it is.
        shown: the number of the frame in the editor.
        wanted: set as long as the visitor wants the job that was asked for.
        closed: set when the page is.
    """

    def __init__(self, folder: Path, visitor: str) -> None:
        self.folder = folder
        self.visitor = visitor
        self.clip: FrameStream | ImageSequence | None = None
        self.clip_path = folder
        self.shown = 0
        self.wanted = threading.Event()
        self.closed = threading.Event()
        self.seen = time.monotonic()
        self.working = False

    def open_clip(self, path: Path) -> FrameStream | ImageSequence:
        """Take another clip; everything of the one before is deleted but what lies at `path`.

        Raises:
            DataError: unreadable.
        """
        clip = open_frames(path)
        self.release()
        self.clip, self.clip_path, self.shown = clip, path, 0
        for entry in self.folder.iterdir():
            if entry not in (path, *path.parents):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        return self.clip

    def chosen(self) -> FrameStream | ImageSequence:
        """The clip.

        Raises:
            DataError: none yet.
        """
        if self.clip is None:
            raise DataError("no clip yet: upload one, or take the sample clip")
        return self.clip

    def release(self) -> None:
        """Close the clip's file."""
        if isinstance(self.clip, FrameStream):
            self.clip.close()
        self.clip = None

    def go_on(self) -> None:
        """Call between the steps of a job.

        Raises:
            Stopped: it should end.
        """
        self.seen = time.monotonic()
        if not self.wanted.is_set() or self.closed.is_set():
            raise Stopped


class Visits:
    """All open pages.

    Args:
        root: a folder for theirs, which others cannot read; uploads arrive in it too.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._by_session: dict[str, Visit] = {}
        self._uploads: dict[Path, set[str]] = {}  # who has uploaded the same content
        self._lock = threading.Lock()

    def of(self, session: str, visitor: str) -> Visit:
        """The visit of a page, made at its first event.

        Raises:
            DataError: the page is that of another browser, or the browser has no cookie.
        """
        if not TOKEN.fullmatch(visitor):
            raise DataError("this page needs a cookie to keep your files apart from others: allow it and load it again")
        with self._lock:
            visit = self._by_session.get(session)
            if visit is None:
                visit = Visit(self.root / secrets.token_hex(16), visitor)
                visit.folder.mkdir()
                self._by_session[session] = visit
            elif not compare_digest(visit.visitor, visitor):
                raise DataError("this page belongs to another browser: load it again")
            visit.seen = time.monotonic()
            return visit

    def owns(self, visitor: str, path: Path) -> bool:
        """Whether a file lies in a folder of this browser's."""
        visit = self._holding(path.resolve())
        return visit is not None and compare_digest(visit.visitor, visitor)

    def add_uploads(self, visitor: str, paths: Iterable[Path]) -> None:
        """Note that this browser has uploaded files, into folders of theirs in the root."""
        with self._lock:
            for path in paths:
                self._uploads.setdefault(path.resolve(), set()).add(visitor)

    def has_uploaded(self, visitor: str, path: Path) -> bool:
        """Whether a file is an upload of this browser's."""
        return visitor in self._uploads.get(path.resolve(), ())

    def close(self, session: str) -> None:
        """End a visit: its job stops; its files are deleted, and the browser's uploads with its last visit."""
        with self._lock:
            visit = self._by_session.pop(session, None)
        if visit is None:
            return
        visit.closed.set()
        visit.release()
        shutil.rmtree(visit.folder, ignore_errors=True)
        if all(other.visitor != visit.visitor for other in list(self._by_session.values())):
            self._forget_uploads(visit.visitor)

    def close_all(self) -> None:
        """End all visits and delete everything."""
        for session in list(self._by_session):
            self.close(session)
        shutil.rmtree(self.root, ignore_errors=True)

    def sweep(self) -> None:
        """Close the idle, and delete what belongs to no page: uploads that nobody took, what a late job has written."""
        now = time.monotonic()
        for session, visit in list(self._by_session.items()):
            if not visit.working and now - visit.seen > IDLE:
                self.close(session)
        visitors = {visit.visitor for visit in list(self._by_session.values())}
        wanted = {visit.folder for visit in list(self._by_session.values())}
        wanted |= {path.parent for path, owners in list(self._uploads.items()) if owners & visitors}
        for entry in self.root.iterdir():
            if entry not in wanted and time.time() - entry.stat().st_mtime > ABANDONED:
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)

    def sweep_forever(self, stop: threading.Event) -> None:
        """Sweep from time to time until `stop` is set."""
        while not stop.wait(SWEEP):
            self.sweep()

    def _forget_uploads(self, visitor: str) -> None:
        with self._lock:
            for path, owners in list(self._uploads.items()):
                owners.discard(visitor)
                if not owners:
                    del self._uploads[path]
                    shutil.rmtree(path.parent, ignore_errors=True)

    def _holding(self, path: Path) -> Visit | None:
        visits = list(self._by_session.values())
        return next((visit for visit in visits if visit.folder in path.parents), None)
