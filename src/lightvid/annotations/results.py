"""Results files and submissions of the YouTube-VIS benchmarks.

A result is a list of tracks, `{"video_id": int, "category_id": int, "score": float, "segmentations": [RLE | None]}`,
with one entry for each frame of the video, at its original size. A submission is a zip with `results.json` at its top.
"""

from __future__ import annotations

import gzip
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

from lightvid.annotations.result_checks import VideoFormat, record_problem
from lightvid.errors import DataError

RESULTS_NAME = "results.json"

Source: TypeAlias = str | os.PathLike[str] | Mapping[str, Any]
"""A JSON file of the YouTube-VIS kind, or what was read from one."""


def write_results(path: str | os.PathLike[str], tracks: Iterable[Mapping[str, Any]]) -> Path:
    """Write tracks as they come, compressed to a name in `.gz`; the file appears when it is complete.

    Raises:
        DataError: a track that JSON cannot hold, such as one whose score is not finite.
    """
    path = Path(path)
    with _replacing(path) as part, gzip.open(part, "wb") if path.suffix == ".gz" else open(part, "wb") as file:
        _write_tracks(file, tracks, str(path))
    return path


def write_submission(path: str | os.PathLike[str], results: Iterable[Mapping[str, Any]]) -> Path:
    """Write the zip that the benchmark servers take; the same results give the same bytes.

    Raises:
        DataError: as `write_results`. Whether a server takes the content is what `validate_submission` tells.
    """
    path = Path(path)
    entry = zipfile.ZipInfo(RESULTS_NAME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with (
        _replacing(path) as part,
        zipfile.ZipFile(part, "w") as archive,
        archive.open(entry, "w", force_zip64=True) as file,
    ):
        _write_tracks(file, results, str(path))
    return path


def read_results(path: str | os.PathLike[str]) -> list[Any]:
    """The tracks of a results file (`.json`, `.json.gz`) or of a submission (`.zip`), unchecked.

    Raises:
        DataError: missing, unreadable, or no list.
    """
    path = Path(path)
    results = _read_zip(path) if path.suffix == ".zip" else read_json(path)
    if not isinstance(results, list):
        raise DataError(f"{path}: results are a list of tracks, this is {_kind(results)}")
    return results


def validate_results(results: Any, ground_truth: Source) -> list[str]:
    """What a server would refuse, or count against the results, one line for each track that has a problem.

    Args:
        results: what `read_results` gives, or tracks made in memory.
        ground_truth: the file of the split; its annotations are not needed.

    Returns:
        Lines such as `results[12]: score: expected a finite number, got nan`; empty where all is well.
    """
    source = load(ground_truth)
    videos, categories = video_formats(source), category_names(source)
    if not isinstance(results, list):
        return [f"results: expected a list of tracks, got {_kind(results)}"]
    problems = ((index, record_problem(record, videos, categories)) for index, record in enumerate(results))
    return [f"results[{index}]: {problem}" for index, problem in problems if problem]


def validate_submission(path: str | os.PathLike[str], ground_truth: Source) -> list[str]:
    """As `validate_results`, of a zip, with the problems of the zip itself."""
    try:
        return validate_results(read_results(path), ground_truth)
    except DataError as error:
        if not str(error).startswith(str(path)):
            raise
        return [str(error)]


def load(source: Source) -> Mapping[str, Any]:
    """The object in a JSON file of the YouTube-VIS kind; what is read already passes through.

    Raises:
        DataError: missing, unreadable, or no object.
    """
    content = source if isinstance(source, Mapping) else read_json(Path(source))
    if not isinstance(content, Mapping):
        raise DataError(f"{source}: expected an object with videos and categories, this is {_kind(content)}")
    return content


def read_json(path: Path) -> Any:
    """The content of a `.json` or `.json.gz` file.

    Raises:
        DataError: missing or unreadable.
    """
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not JSON ({error})") from None


def video_formats(ground_truth: Mapping[str, Any]) -> dict[int, VideoFormat]:
    """Length and size of each video, by id.

    Raises:
        DataError: no list of videos, or one without its size.
    """
    formats = {}
    for index, video in enumerate(_entries(ground_truth, "videos")):
        try:
            length = video["length"] if "length" in video else len(video["file_names"])
            formats[video["id"]] = VideoFormat(length, video["height"], video["width"])
        except (KeyError, TypeError) as error:
            raise DataError(f"ground truth: videos[{index}] lacks id, length, height or width ({error})") from None
    return formats


def category_names(ground_truth: Mapping[str, Any]) -> dict[int, str]:
    """The name of each category, by id in ascending order.

    Raises:
        DataError: no list of categories, or one without an id.
    """
    try:
        names = {entry["id"]: str(entry.get("name", entry["id"])) for entry in _entries(ground_truth, "categories")}
        return dict(sorted(names.items()))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"ground truth: a category lacks its id ({error})") from None


def _entries(ground_truth: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(ground_truth.get(key), list):
        raise DataError(f"ground truth: no list of {key}, give a JSON file of the YouTube-VIS kind")
    return ground_truth[key]


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if RESULTS_NAME not in names:
                raise DataError(
                    f"{path}: no {RESULTS_NAME} at its top level (it holds {', '.join(names[:3]) or 'nothing'})"
                )
            return json.loads(archive.read(RESULTS_NAME))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: not a zip ({error})") from None
    except ValueError as error:
        raise DataError(f"{path}: its {RESULTS_NAME} is not JSON ({error})") from None


def _write_tracks(file: IO[bytes] | gzip.GzipFile, tracks: Iterable[Mapping[str, Any]], label: str) -> None:
    file.write(b"[")
    for index, track in enumerate(tracks):
        try:
            text = json.dumps(track, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DataError(f"{label}: track {index} cannot be written as JSON ({error})") from None
        file.write((",\n" if index else "\n").encode() + text.encode())
    file.write(b"\n]\n")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _kind(content: Any) -> str:
    return "an object" if isinstance(content, Mapping) else f"a {type(content).__name__}"
