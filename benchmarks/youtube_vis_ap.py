"""YouTube-VIS AP beside the published procedure, pair by pair: `python benchmarks/youtube_vis_ap.py [--videos 300]`.

The peer follows the procedure literally, with merges of masks for each frame of each pair. With `--released FOLDER` the
evaluator that the benchmark's authors released is timed, too: the folder holds `ytvos.py` and `ytvoseval.py` from
PythonAPI/pycocotools of github.com/youtubevos/cocoapi; what no longer runs in them is replaced while they are loaded.

First all evaluate small random data with equal scores, crowds, absent masks, lists and masks of other sizes; the twelve
numbers must agree. Then they are timed on videos of 30 frames of 1280x720: with 4 annotated tracks and 10 to 20
predictions each, and a tenth as many with 12 and 30 of one category. Reading JSON is left out for all. They take turns;
each one's best round counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from rich.console import Console
from rich.table import Table

from lightvid.metrics import youtube_vis_ap
from lightvid.metrics.youtube_vis_averages import NUMBERS

Record = dict[str, Any]
Evaluator = Callable[[Record, list[Record]], dict[str, float]]
THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))
CORNERS = 24
OUTDATED = {
    "import matplotlib.pyplot as plt\n": "",
    "from matplotlib.collections import PatchCollection\n": "",
    "from matplotlib.patches import Polygon\n": "",
    "from . import mask as maskUtils": "from pycocotools import mask as maskUtils",
    " or type(resFile) == unicode": "",
    "np.round((0.95 - .5) / .05) + 1": "10",
    "np.round((1.00 - .0) / .01) + 1": "101",
    "dtype=np.float)": "dtype=float)",
}
"""In the released files, and what stands for it today."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=300, help="timed videos")
    parser.add_argument("--checks", type=int, default=50, help="small random sets that must agree")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each")
    parser.add_argument("--quick", action="store_true", help="10 videos and 10 checks")
    parser.add_argument("--released", type=Path, metavar="FOLDER", help="with ytvos.py and ytvoseval.py")
    options = parser.parse_args()
    videos, checks = (10, 10) if options.quick else (options.videos, options.checks)
    peers: dict[str, Evaluator] = {"pair by pair": pairwise_ap}
    if options.released:
        peers["released evaluator"] = released_evaluator(options.released)
    worst = max(
        difference(peer, truth, results)
        for peer in peers.values()
        for truth, results in map(small_set, range(checks))
        if results or peer is pairwise_ap  # the released one ends in an error where there are none
    )
    print(f"{checks} small sets: largest difference {worst:.1e}")
    if worst > 1e-12:
        raise SystemExit("the numbers differ")
    console = Console(width=120)
    console.print(timing_table("1 to 3 of 40 categories in a video", *large_set(videos), peers, options.rounds))
    crowd = large_set(max(1, videos // 10), tracks=12, predictions=(30, 31), categories=(1, 2))
    console.print(timing_table("1 category in a video", *crowd, peers, options.rounds))


def difference(peer: Evaluator, truth: Record, results: list[Record]) -> float:
    ours, theirs = youtube_vis_ap(truth, results, as_benchmark=True), peer(truth, results)
    return max(abs(ours[name] - theirs[name]) for name in NUMBERS)


def timing_table(title: str, truth: Record, results: list[Record], peers: dict[str, Evaluator], rounds: int) -> Table:
    counts = f"{len(truth['videos'])} videos, {len(truth['annotations'])} annotated and {len(results)} predicted tracks"
    table = Table(title=f"{title}\n{counts}")
    for column in ("", "seconds", *(f"times {peer}" for peer in peers), "AP"):
        table.add_column(column, justify="right" if column else "left")
    ways: dict[str, Evaluator] = {
        **peers,
        "lightvid, 1 process": lambda truth, results: youtube_vis_ap(truth, results, processes=1),
        "lightvid, 1 process, as_benchmark": lambda truth, results: youtube_vis_ap(truth, results, True, processes=1),
        "lightvid, 2 processes": lambda truth, results: youtube_vis_ap(truth, results, processes=2),
    }
    numbers: dict[str, dict[str, float]] = {}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            numbers[name] = way(truth, results)
            best[name] = min(best[name], time.perf_counter() - start)
    for name, numbers_of_way in numbers.items():
        if any(abs(numbers_of_way[key] - numbers["pair by pair"][key]) > 1e-12 for key in NUMBERS):
            raise SystemExit(f"{name}: the numbers differ")
        factors = (f"{best[peer] / best[name]:.1f}" for peer in peers)
        table.add_row(name, f"{best[name]:.2f}", *factors, f"{100 * numbers_of_way['AP']:.3f}")
    return table


def own_copy(truth: Record, results: list[Record]) -> tuple[Record, list[Record]]:
    """Records that an evaluator may write into, as the released one does; the masks are the same."""
    annotations, results = (
        [{**record, "segmentations": list(record["segmentations"])} for record in records]
        for records in (truth["annotations"], results)
    )
    return {**truth, "annotations": annotations}, results


def released_evaluator(folder: Path) -> Evaluator:
    """The released evaluator as its users call it, from the content of the files on."""
    loaded = []
    for name in ("ytvos", "ytvoseval"):
        source = (folder / f"{name}.py").read_text()
        for old, new in OUTDATED.items():
            source = source.replace(old, new)
        module = types.ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)
        loaded.append(module)
    api, evaluation = loaded

    def evaluate(truth: Record, results: list[Record]) -> dict[str, float]:
        truth, results = own_copy(truth, results)
        with contextlib.redirect_stdout(io.StringIO()):
            ground_truth = api.YTVOS()
            ground_truth.dataset = truth
            ground_truth.createIndex()
            evaluator = evaluation.YTVOSeval(ground_truth, ground_truth.loadRes(results), "segm")
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        return dict(zip(NUMBERS, map(float, evaluator.stats), strict=True))

    return evaluate


def pairwise_ap(truth: Record, results: list[Record]) -> dict[str, float]:
    """The published procedure, step by step, with nothing kept from one pair to the next."""
    sizes = {video["id"]: (video["height"], video["width"]) for video in truth["videos"]}
    tracks, predictions = defaultdict(list), defaultdict(list)
    for record in truth["annotations"]:
        masks = [mask and to_compressed(mask, *sizes[record["video_id"]]) for mask in record["segmentations"]]
        track = {**record, "masks": masks, "area": mean_of_positive(record["areas"])}
        tracks[record["video_id"], record["category_id"]].append(track)
    for record in results:
        masks = record["segmentations"]
        area = mean_of_positive([mask and float(coco.area(mask)) for mask in masks])
        predictions[record["video_id"], record["category_id"]].append({**record, "masks": masks, "area": area})
    categories = sorted(category["id"] for category in truth["categories"])
    cells = [(video, category) for video in sorted(sizes) for category in categories]
    overlaps = {}
    for cell in cells:
        predictions[cell].sort(key=lambda prediction: -prediction["score"])
        predictions[cell] = predictions[cell][:100]
        for i, prediction in enumerate(predictions[cell]):
            for j, track in enumerate(tracks[cell]):
                overlaps[(*cell, i, j)] = tube_overlap(prediction["masks"], track["masks"])
    precision, recall = {}, {}
    for a, bounds in enumerate(AREAS):
        for t, threshold in enumerate(THRESHOLDS):
            outcomes: dict[int, list[tuple[float, int, str]]] = defaultdict(list)
            positives: dict[int, int] = defaultdict(int)
            for video, category in cells:
                cell = (video, category)
                found, count = greedy(cell, predictions[cell], tracks[cell], overlaps, threshold, bounds)
                outcomes[category] += found
                positives[category] += count
            for category in categories:
                for limit in (1, 10, 100):
                    curve = precision_recall([o for o in outcomes[category] if o[1] < limit], positives[category])
                    precision[a, t, category, limit], recall[a, t, category, limit] = curve
    return twelve_numbers(precision, recall, categories)


def to_compressed(mask: Any, height: int, width: int) -> Any:
    if isinstance(mask, list):
        return coco.merge(coco.frPyObjects(mask, height, width))
    return coco.frPyObjects(mask, *mask["size"]) if isinstance(mask["counts"], list) else mask


def mean_of_positive(areas: list[float | None]) -> float:
    positive = [area for area in areas if area]
    return float(np.mean(positive)) if positive else 0.0


def tube_overlap(first: list[Any], second: list[Any]) -> float:
    intersection, union = 0.0, 0.0
    for one, other in zip(first, second, strict=False):
        if one and other:
            intersection += float(coco.area(coco.merge([one, other], intersect=True)))
            union += float(coco.area(coco.merge([one, other], intersect=False)))
        elif one or other:
            union += float(coco.area(one or other))
    return intersection / union if union else 0.0


def greedy(
    cell: tuple[int, int],
    predictions: list[Record],
    tracks: list[Record],
    overlaps: dict[tuple[int, int, int, int], float],
    threshold: float,
    bounds: tuple[float, float],
) -> tuple[list[tuple[float, int, str]], int]:
    """Outcomes (score, rank, kind) of one cell, and its tracks that are to be found."""
    ignored = [bool(track["iscrowd"]) or not bounds[0] <= track["area"] <= bounds[1] for track in tracks]
    order = sorted(range(len(tracks)), key=lambda j: ignored[j])
    taken: set[int] = set()
    outcomes = []
    for i, prediction in enumerate(predictions):
        best, match = min(threshold, 1 - 1e-10), None
        for j in order:
            if j in taken and not tracks[j]["iscrowd"]:
                continue
            if match is not None and not ignored[match] and ignored[j]:
                break
            if overlaps[(*cell, i, j)] < best:
                continue
            best, match = overlaps[(*cell, i, j)], j
        outside = not bounds[0] <= prediction["area"] <= bounds[1]
        if match is None:
            kind = "ignored" if outside else "wrong"
        else:
            taken.add(match)
            kind = "ignored" if ignored[match] else "found"
            if tracks[match]["id"] == 0 and kind == "found":  # matches are kept as ids and tested for truth
                kind = "ignored" if outside else "wrong"
        outcomes.append((prediction["score"], i, kind))
    return outcomes, ignored.count(False)


def precision_recall(
    outcomes: list[tuple[float, int, str]], positives: int
) -> tuple[NDArray[np.float64] | None, float | None]:
    """Precision at 101 recalls and the last recall; None without positives."""
    if not positives:
        return None, None
    found, wrong = 0, 0
    recalls, precisions = [], []
    for _, _, kind in sorted(outcomes, key=lambda outcome: -outcome[0]):
        found += kind == "found"
        wrong += kind == "wrong"
        recalls.append(found / positives)
        precisions.append(found / (wrong + found + 2**-52))
    for i in range(len(precisions) - 1, 0, -1):
        precisions[i - 1] = max(precisions[i - 1], precisions[i])
    at = np.searchsorted(recalls, np.linspace(0, 1, 101), side="left")
    curve = np.array([precisions[i] if i < len(precisions) else 0.0 for i in at])
    return curve, recalls[-1] if recalls else 0.0


def twelve_numbers(precision: dict[Any, Any], recall: dict[Any, Any], categories: list[int]) -> dict[str, float]:
    def mean(entries: dict[Any, Any], area: int, limit: int, thresholds: tuple[int, ...] = tuple(range(10))) -> float:
        keys = [(area, t, category, limit) for t in thresholds for category in categories]
        defined = [entries[key] for key in keys if entries[key] is not None]
        return float(np.mean(defined)) if defined else -1.0

    values = (
        *(mean(precision, 0, 100), mean(precision, 0, 100, (0,)), mean(precision, 0, 100, (5,))),
        *(mean(precision, area, 100) for area in (1, 2, 3)),
        *(mean(recall, 0, limit) for limit in (1, 10, 100)),
        *(mean(recall, area, 100) for area in (1, 2, 3)),
    )
    return dict(zip(NUMBERS, values, strict=True))


def small_set(seed: int) -> tuple[Record, list[Record]]:
    """Videos of 300x420 with everything that the published evaluation accepts."""
    random = np.random.default_rng(seed)
    videos = [video_entry(7 * v + 3, int(random.integers(1, 6)), 300, 420) for v in range(3)]
    annotations: list[Record] = []
    results: list[Record] = []
    for video in videos:
        for _ in range(random.integers(0, 6)):
            path = blob_path(random, video, float(random.uniform(20, 130)))
            masks = [mask if random.random() < 0.8 else None for mask in draw(path, video)]
            annotations.append(annotation(len(annotations), video, int(random.integers(1, 4)), masks))
            annotations[-1]["iscrowd"] = int(random.random() < 0.15)
            for _ in range(random.integers(0, 4)):
                moved = path + random.normal(0, float(random.uniform(0, 12)), (len(path), 1, 2))
                predicted = [mask if random.random() < 0.9 else None for mask in draw(moved, video)]
                category = annotations[-1]["category_id"] if random.random() < 0.8 else int(random.integers(0, 5))
                results.append(prediction(random, video, category, unequal(random, predicted)))
                results[-1]["score"] = round(results[-1]["score"], 1)  # many are equal
    return ground_truth(videos, annotations, 3), results


def unequal(random: np.random.Generator, masks: list[Any]) -> list[Any]:
    """Now and then a frame less, a frame more, or a frame of another size."""
    chance = random.random()
    if chance < 0.1:
        return masks[:-1]
    if chance < 0.2:
        return [*masks, masks[0]]
    if chance < 0.3:
        return [draw_polygon(np.array([[5.0, 5], [5, 90], [90, 90], [90, 5]]), 100, 110), *masks[1:]]
    return masks


def large_set(
    count: int,
    *,
    tracks: int = 4,
    predictions: tuple[int, int] = (10, 21),
    categories: tuple[int, int] = (1, 4),
) -> tuple[Record, list[Record]]:
    """Videos of 30 frames with so many annotated tracks, predicted tracks and, of 40, categories; ends excluded."""
    random = np.random.default_rng(0)
    videos = [video_entry(v + 1, 30, 720, 1280) for v in range(count)]
    annotations: list[Record] = []
    results: list[Record] = []
    for video in videos:
        choice = random.integers(1, 41, random.integers(*categories))
        paths = [blob_path(random, video, float(random.uniform(40, 250))) for _ in range(tracks)]
        classes = [int(random.choice(choice)) for _ in range(tracks)]
        for path, category in zip(paths, classes, strict=True):
            annotations.append(annotation(len(annotations) + 1, video, category, draw(path, video)))
        for _ in range(random.integers(*predictions)):
            source = int(random.integers(tracks))
            masks = draw(paths[source] + random.normal(0, random.uniform(0, 40), 2), video)
            results.append(prediction(random, video, classes[source], masks))
    return ground_truth(videos, annotations, 40), results


def blob_path(random: np.random.Generator, video: Record, radius: float) -> NDArray[np.float64]:
    """An uneven outline that moves on a line, `(frames, corners, 2)`."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    outline = radius * random.uniform(0.7, 1.3, CORNERS)[:, None] * np.stack((np.cos(angles), np.sin(angles)), 1)
    start, end = random.uniform(0.1, 0.9, (2, 2)) * (video["width"], video["height"])
    return outline + start + np.linspace(0, 1, video["length"])[:, None, None] * (end - start)


def draw(path: NDArray[np.float64], video: Record) -> list[Any]:
    return [draw_polygon(outline, video["height"], video["width"]) for outline in path]


def draw_polygon(outline: NDArray[np.float64], height: int, width: int) -> Record:
    corners = np.clip(outline, 0, (width, height)).ravel().tolist()
    mask = coco.frPyObjects([corners], height, width)[0]
    return {"size": [height, width], "counts": mask["counts"].decode()}


def video_entry(identity: int, length: int, height: int, width: int) -> Record:
    return {"id": identity, "length": length, "height": height, "width": width}


def annotation(identity: int, video: Record, category: int, masks: list[Any]) -> Record:
    areas = [mask and float(coco.area(mask)) for mask in masks]
    record = {"id": identity, "video_id": video["id"], "category_id": category, "iscrowd": 0}
    return {**record, "segmentations": masks, "areas": areas}


def prediction(random: np.random.Generator, video: Record, category: int, masks: list[Any]) -> Record:
    record = {"video_id": video["id"], "category_id": category, "score": float(random.random())}
    return {**record, "segmentations": masks}


def ground_truth(videos: list[Record], annotations: list[Record], categories: int) -> Record:
    names = [{"id": category + 1, "name": f"category {category + 1}"} for category in range(categories)]
    return {"videos": videos, "annotations": annotations, "categories": names}


if __name__ == "__main__":
    main()
