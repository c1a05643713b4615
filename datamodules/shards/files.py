"""The files of shards, in a folder or at an address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import webdataset

from lightvid.errors import DataError

REMOTE = ("http://", "https://", "gs://")
CURL = {  # exit statuses that users meet
    6: "the host is not known",
    7: "no connection",
    18: "the transfer broke off",
    22: "the server answers with an error, as for a file that is not there",
    28: "it took too long",
    35: "no secure connection",
    56: "the connection broke off",
    60: "the server's certificate is not trusted",
}


@contextmanager
def open_file(url: str) -> Iterator[IO[bytes]]:
    """Open a file to read it from its start.

    Args:
        url: an address that begins as one of `REMOTE`; all else is the path of a local file.

    Raises:
        OSError: the local file cannot be opened.
        DataError: an address cannot be fetched, in place of any error that its content led to.
    """
    if not url.startswith(REMOTE):  # webdataset would run "pipe:COMMAND" in a shell
        with Path(url).open("rb") as file:
            yield file
        return
    try:
        stream = webdataset.gopen(url)
    except OSError as error:
        raise DataError(f"{url}: cannot be fetched ({error.filename}: {error.strerror})") from None
    try:
        yield stream
    except Exception:
        _check_fetched(url, stream)
        raise
    finally:
        with suppress(OSError):  # the program may mind that the rest is not wanted
            stream.close()


def _check_fetched(url: str, stream: IO[bytes]) -> None:
    """Read on to the end, where the program that fetches says whether that was all."""
    try:
        while stream.read(1 << 20):
            pass
        stream.close()
    except OSError as error:
        raise DataError(f"{url}: cannot be fetched ({_cause(url, error)})") from None


def _cause(url: str, error: OSError) -> str:
    status = re.search(r"exit (-?\d+) \(read\)", str(error))
    if status is None:
        return str(error)
    if url.startswith("gs://"):
        return f"gsutil ends with status {status[1]}"
    meaning = CURL.get(int(status[1]))
    return f"curl ends with status {status[1]}" + (f": {meaning}" if meaning else "")
