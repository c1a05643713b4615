"""Average precision of the YouTube-VIS and OVIS benchmarks (Video Instance Segmentation, Yang et al., ICCV 2019)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from lightvid.annotations.result_checks import RecordError, VideoFormat, check_fields, check_masks, record_problem
from lightvid.annotations.results import Source, category_names, load, read_results, video_formats
from lightvid.errors import ConfigurationError, DataError
from lightvid.metrics.youtube_vis_averages import YouTubeVISScores, average
from lightvid.metrics.youtube_vis_matching import Matches, match_video
from lightvid.metrics.youtube_vis_processes import default_processes, match_videos
from lightvid.metrics.youtube_vis_tracks import LabelledRecord, check_annotation, decode_tracks

NamedRecord: TypeAlias = tuple[str, Mapping[str, Any]]
"""What to call it in messages, and as in the JSON file; its masks are not checked yet."""

Results: TypeAlias = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
"""A results file or submission, or its tracks."""


def youtube_vis_ap(
    ground_truth: Source, results: Results, as_benchmark: bool = False, *, processes: int | None = None
) -> dict[str, float]:
    """The twelve numbers of the benchmark in [0, 1]; -1 where the ground truth defines none.

    AP averages the precision over IoU thresholds .5 to .95, 101 recalls and the categories with ground truth; AR1, AR10
    and AR100 the recall with so many predictions in each category of a video; s, m, l are tracks of a mean area up to
    128², up to 256², and above. Intersections and unions are summed over the frames of a video.

    Args:
        ground_truth: a JSON file (`.json`, `.json.gz`) with annotations, or its content. A missing `iscrowd` is 0,
            missing `areas` are those of the masks; masks are polygons, uncompressed or compressed run lengths.
        results: a JSON file, a submission's zip, or its content.
        as_benchmark: take what the published evaluation takes, with its result: results that are shorter or longer than
            the video (frames that one of them lacks do not count), masks of another size (the frame does not count),
            unknown categories (ignored), a ground truth with id 0 (never found).
        processes: that share the videos, with the same numbers; by default one for each core where the input is large
            and no other thread runs, at most 8. 1: none but this one.

    Returns:
        AP, AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl.

    Raises:
        DataError: the ground truth has no annotations, a record is damaged, or, unless `as_benchmark`, a server would
            refuse it or count it otherwise than it was meant.
        ConfigurationError: less than one process.
    """
    return evaluate_youtube_vis(ground_truth, results, as_benchmark=as_benchmark, processes=processes).numbers()


def evaluate_youtube_vis(
    ground_truth: Source, results: Results, *, as_benchmark: bool = False, processes: int | None = None
) -> YouTubeVISScores:
    """As `youtube_vis_ap`, with what the numbers are averages of."""
    if processes is not None and processes < 1:
        raise ConfigurationError(f"processes: {processes}: at least 1, or None for one for each core")
    source = load(ground_truth)
    label = "" if isinstance(ground_truth, Mapping) else f"{ground_truth}: "
    videos, categories = _checked_formats(source, label), category_names(source)
    tracks = _annotated_by_video(source, videos, categories, label, as_benchmark=as_benchmark)
    label = f"{results}: " if isinstance(results, (str, os.PathLike)) else ""
    records = read_results(results) if isinstance(results, (str, os.PathLike)) else results
    predictions = _predicted_by_video(records, videos, categories, label, as_benchmark=as_benchmark)

    if processes is None:
        counts = [(video, len(part)) for by_video in (predictions, tracks) for video, part in by_video.items()]
        processes = default_processes(sum(videos[video].length * count for video, count in counts))

    def match(video: int) -> Matches:
        predicted = [
            _checked_prediction(name, record, videos, categories, as_benchmark=as_benchmark)
            for name, record in predictions.get(video, ())
        ]
        annotated = [
            check_annotation(record, name, videos[video], as_benchmark=as_benchmark)
            for name, record in tracks.get(video, ())
        ]
        return match_video(video, *decode_tracks(predicted, annotated, as_benchmark=as_benchmark))

    return average(Matches.join(match_videos(match, sorted(videos), processes)), list(categories))


def _checked_formats(source: Mapping[str, Any], label: str) -> dict[int, VideoFormat]:
    formats = video_formats(source)
    for number, video in formats.items():
        for field, value in zip(("id", *VideoFormat._fields), (number, *video), strict=True):
            if not isinstance(value, int) or (field != "id" and value < 1):
                raise DataError(f"{label}video {number!r}: {field}: expected a whole number, got {value!r}")
    return formats


def _annotated_by_video(
    source: Mapping[str, Any],
    videos: Mapping[int, VideoFormat],
    categories: Collection[int],
    label: str,
    *,
    as_benchmark: bool,
) -> dict[int, list[NamedRecord]]:
    """Tracks outside the listed videos and categories are an error; as benchmark, they do not count."""
    if source.get("annotations") is None:
        state = "null" if "annotations" in source else "missing"
        raise DataError(
            f"{label}annotations: {state}: the benchmarks hide those of valid and test, "
            "`lightvid split-vis` makes a local split of the training file"
        )
    if not isinstance(source["annotations"], list):
        raise DataError(f"{label}annotations: expected a list, got {type(source['annotations']).__name__}")
    tracks = defaultdict(list)
    for index, record in enumerate(source["annotations"]):
        name = f"{label}annotations[{index}]"
        if not isinstance(record, Mapping):
            raise DataError(f"{name}: expected an object, got {type(record).__name__}")
        for field, known in (("video_id", videos), ("category_id", categories)):
            value = record.get(field)
            if not isinstance(value, int):
                raise DataError(f"{name}: {field}: expected a whole number, got {value!r}")
            if value not in known and not as_benchmark:
                raise DataError(f"{name}: {field}: {value!r} is not among those that the file lists")
        if record["video_id"] in videos and record["category_id"] in categories:
            tracks[record["video_id"]].append((name, record))
    return tracks


def _predicted_by_video(
    records: Sequence[Any],
    videos: Mapping[int, VideoFormat],
    categories: Collection[int],
    label: str,
    *,
    as_benchmark: bool,
) -> dict[int, list[NamedRecord]]:
    tracks = defaultdict(list)
    for index, record in enumerate(records):
        name = f"{label}results[{index}]"
        try:
            check_fields(record, videos, categories, as_benchmark=as_benchmark)
        except RecordError as problem:
            hint = _hint(record, videos, categories, as_benchmark=as_benchmark)
            raise DataError(f"{name}: {problem}{hint}") from None
        if record["category_id"] in categories:
            tracks[record["video_id"]].append((name, record))
        elif damaged := record_problem(record, videos, categories, as_benchmark=True):
            raise DataError(f"{name}: {damaged}")
    return tracks


def _checked_prediction(
    name: str,
    record: Mapping[str, Any],
    videos: Mapping[int, VideoFormat],
    categories: Collection[int],
    *,
    as_benchmark: bool,
) -> LabelledRecord:
    """A record whose fields are checked."""
    try:
        check_masks(record["segmentations"], None if as_benchmark else videos[record["video_id"]])
    except RecordError as problem:
        hint = _hint(record, videos, categories, as_benchmark=as_benchmark)
        raise DataError(f"{name}: {problem}{hint}") from None
    return LabelledRecord(name, record, record["segmentations"])


def _hint(record: Any, videos: Mapping[int, VideoFormat], categories: Collection[int], *, as_benchmark: bool) -> str:
    passes = not as_benchmark and not record_problem(record, videos, categories, as_benchmark=True)
    return " (as_benchmark evaluates it all the same)" if passes else ""
