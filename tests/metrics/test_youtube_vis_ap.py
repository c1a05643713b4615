"""The numbers of YouTube-VIS, case by case, and against recorded evaluations."""

import contextlib
import gzip
import importlib.util
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from lightvid.annotations.rle import encode
from lightvid.errors import ConfigurationError, DataError
from lightvid.metrics import evaluate_youtube_vis, youtube_vis_ap
from lightvid.metrics.youtube_vis_matching import match_video

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDED = REPOSITORY / ".." / "shared" / "oracles" / "ytvis_ap"
NAMES = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
SIDE = 20
ONE = pytest.approx(1)  # the published precision is TP / (TP + FP + 2^-52)
HALF = pytest.approx(0.5)


def box(x, y, width=4, height=5, side=SIDE):
    """A filled rectangle in a square frame."""
    mask = np.zeros((side, side), bool)
    mask[y : y + height, x : x + width] = True
    return encode(mask)


def truth(*tracks, length=2, videos=1, categories=2, side=SIDE):
    entries = [{"id": v + 1, "length": length, "height": side, "width": side} for v in range(videos)]
    named = [{"id": c + 1, "name": f"c{c + 1}"} for c in range(categories)]
    annotations = [{"id": i + 1, **track} for i, track in enumerate(tracks)]
    return {"videos": entries, "categories": named, "annotations": annotations}


def track(*masks, category=1, video=1, **more):
    areas = [None if mask is None else float(box_area(mask)) for mask in masks]
    common = {"video_id": video, "category_id": category, "segmentations": list(masks), "iscrowd": 0, "areas": areas}
    return {**common, **more}


def box_area(mask):
    from pycocotools import mask as coco

    return coco.area(mask)


def found(*masks, score=0.9, category=1, video=1):
    return {"video_id": video, "category_id": category, "score": score, "segmentations": list(masks)}


A, B, EMPTY = box(0, 0), box(10, 10), encode(np.zeros((SIDE, SIDE), bool))


@pytest.mark.parametrize("name", [f"{number:03d}" for number in range(8)])
def test_recorded_sets_give_the_recorded_numbers(name):
    if not RECORDED.is_dir():
        pytest.skip(f"no recorded evaluations in {RECORDED}")
    numbers = youtube_vis_ap(RECORDED / f"{name}_gt.json.gz", RECORDED / f"{name}_results.json.gz", as_benchmark=True)
    recorded = json.loads((RECORDED / "stats.json").read_text())[name]
    assert list(numbers) == NAMES
    assert numbers == pytest.approx(recorded, abs=1e-12)


@pytest.mark.parametrize("name", ["000", "004"])
def test_validated_results_give_the_same_numbers_once_the_unknown_category_is_left_out(name):
    if not RECORDED.is_dir():
        pytest.skip(f"no recorded evaluations in {RECORDED}")
    results = json.loads(gzip.decompress((RECORDED / f"{name}_results.json.gz").read_bytes()))
    results = [record for record in results if record["category_id"] != 0]
    numbers = youtube_vis_ap(RECORDED / f"{name}_gt.json.gz", results)
    assert numbers == pytest.approx(json.loads((RECORDED / "stats.json").read_text())[name], abs=1e-12)


def test_random_sets_with_ties_crowds_gaps_and_other_sizes_agree_with_the_procedure_done_pair_by_pair():
    spec = importlib.util.spec_from_file_location("pairwise", REPOSITORY / "benchmarks" / "youtube_vis_ap.py")
    pairwise = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pairwise)
    assert max(pairwise.difference(pairwise.pairwise_ap, *pairwise.small_set(seed)) for seed in range(100, 130)) < 1e-12


@pytest.mark.parametrize("truth_masks, masks", [((A, A), (A, None)), ((A, None), (A, A))])
def test_a_frame_that_only_one_has_counts_in_the_union_alone(truth_masks, masks):
    numbers = youtube_vis_ap(truth(track(*truth_masks)), [found(*masks)])
    assert (numbers["AP"], numbers["AP50"]) == (pytest.approx(0.1), ONE)


def test_an_iou_equal_to_the_threshold_is_a_match():
    numbers = youtube_vis_ap(truth(track(box(0, 0, 4, 5), length=1), length=1), [found(box(0, 0, 3, 5))])
    assert numbers["AP75"] == ONE
    assert numbers["AP"] == pytest.approx(0.6)


def test_a_short_list_is_refused_and_as_benchmark_loses_the_frames_from_the_union():
    with pytest.raises(
        DataError, match=r"results\[0\]: segmentations: 1 entries for a video of 2 frames.*as_benchmark"
    ):
        youtube_vis_ap(truth(track(A, A)), [found(A)])
    assert youtube_vis_ap(truth(track(A, A)), [found(A)], as_benchmark=True)["AP"] == ONE


def test_as_benchmark_frames_beyond_the_video_do_not_count():
    assert youtube_vis_ap(truth(track(A, A)), [found(A, A, B)], as_benchmark=True)["AP"] == ONE


def test_a_prediction_without_masks_is_wrong_among_all_and_small_and_ignored_elsewhere():
    large = box(0, 0, 260, 260, side=300)
    ground_truth = truth(track(large), track(box(280, 280, side=300)), length=1, side=300)
    results = [
        found(None, score=1.0),
        found(large, score=0.9),
        found(box(280, 280, side=300), score=0.8),
    ]
    numbers = youtube_vis_ap(ground_truth, results)
    assert numbers["APl"] == ONE
    assert numbers["APs"] == HALF
    assert numbers["AP"] == pytest.approx(2 / 3)


def test_an_annotated_track_without_masks_can_never_be_found():
    numbers = youtube_vis_ap(truth(track(A, A), track(None, None)), [found(A, A), found(None, None, score=0.1)])
    assert numbers["AR100"] == HALF


def test_an_empty_mask_is_the_same_as_none():
    for masks, predicted in (((A, EMPTY), (A, None)), ((A, None), (A, EMPTY)), ((A, EMPTY), (A, EMPTY))):
        assert youtube_vis_ap(truth(track(*masks)), [found(*predicted)])["AP"] == ONE
    assert youtube_vis_ap(truth(track(A, A)), [found(A, EMPTY)])["AP50"] == ONE
    assert youtube_vis_ap(truth(track(A, A)), [found(A, EMPTY)])["AP"] == pytest.approx(0.1)


def test_predictions_of_a_category_without_ground_truth_cost_nothing():
    assert youtube_vis_ap(truth(track(A, A)), [found(A, A), found(B, B, category=2)])["AP"] == ONE


def test_a_category_without_predictions_counts_as_zero():
    assert youtube_vis_ap(truth(track(A, A), track(B, B, category=2)), [found(A, A)])["AP"] == HALF


@pytest.mark.parametrize("tracks", [(), (track(A, A, iscrowd=1),)])
def test_without_a_track_to_be_found_every_number_is_minus_one(tracks):
    assert set(youtube_vis_ap(truth(*tracks), [found(A, A)]).values()) == {-1}


@pytest.mark.parametrize("category", [0, 41])
def test_unknown_categories_are_refused_and_as_benchmark_ignored(category):
    results = [found(A, A), found(B, B, score=1.0, category=category)]
    with pytest.raises(DataError, match=rf"results\[1\]: category_id: {category} is not"):
        youtube_vis_ap(truth(track(A, A)), results)
    assert youtube_vis_ap(truth(track(A, A)), results, as_benchmark=True)["AP"] == ONE


def test_of_equal_scores_the_first_in_the_file_counts_first():
    wrong, right = found(B, B), found(A, A)
    assert youtube_vis_ap(truth(track(A, A)), [wrong, right])["AP"] == HALF
    assert youtube_vis_ap(truth(track(A, A)), [right, wrong])["AP"] == ONE


def test_of_equal_scores_in_two_videos_the_lower_video_id_counts_first():
    ground_truth = truth(track(A, A, video=2), videos=2)
    results = [found(A, A, video=2), found(A, A, video=1)]
    assert youtube_vis_ap(ground_truth, results)["AP"] == HALF


def test_videos_without_predictions_are_missed_and_videos_without_tracks_yield_false_positives():
    two = truth(track(A, A), track(A, A, video=2), videos=2)
    assert youtube_vis_ap(two, [found(A, A)])["AR100"] == HALF
    one = truth(track(A, A), videos=2)
    assert youtube_vis_ap(one, [found(A, A), found(B, B, score=1.0, video=2)])["AP"] == HALF


def test_a_mask_of_another_size_is_refused_and_as_benchmark_its_frame_does_not_count():
    results = [found(A, box(0, 0, side=SIDE + 1))]
    with pytest.raises(DataError, match=r"results\[0\]: segmentations\[1\]: a mask of 21x21 for frames of 20x20"):
        youtube_vis_ap(truth(track(A, A)), results)
    assert youtube_vis_ap(truth(track(A, A)), results, as_benchmark=True)["AP"] == ONE


def test_missing_iscrowd_and_areas_are_those_of_the_masks():
    bare = track(box(0, 0, 150, 150, side=300), length=1)
    for field in ("iscrowd", "areas"):
        del bare[field]
    numbers = youtube_vis_ap(truth(bare, length=1, side=300), [found(box(0, 0, 150, 150, side=300))])
    assert (numbers["APs"], numbers["APm"], numbers["APl"]) == (-1, ONE, -1)


def test_areas_that_are_given_decide_the_range_as_their_mean_over_frames_that_have_one():
    given = track(A, A, areas=[200.0**2, None])
    numbers = youtube_vis_ap(truth(given), [found(A, A)])
    assert (numbers["APs"], numbers["APm"], numbers["APl"]) == (-1, ONE, -1)


@pytest.mark.parametrize("as_benchmark", [False, True])
@pytest.mark.parametrize("mask", [[[0, 0, 4, 0, 4, 5, 0, 5]], {"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}])
def test_results_hold_compressed_masks_only(mask, as_benchmark):
    with pytest.raises(DataError, match=r"results\[0\]: segmentations\[0\]: expected null or compressed"):
        youtube_vis_ap(truth(track(A, A)), [found(mask, A)], as_benchmark=as_benchmark)


@pytest.mark.parametrize("as_benchmark", [False, True])
def test_damaged_masks_are_refused_instead_of_compared_for_ever(as_benchmark):
    torn = {**A, "counts": A["counts"][:3]}
    with pytest.raises(DataError, match=r"results\[0\]: segmentations\[1\]: its counts are damaged"):
        youtube_vis_ap(truth(track(A, A)), [found(A, torn)], as_benchmark=as_benchmark)
    with pytest.raises(DataError, match=r"annotations\[0\]: segmentations\[1\]: its counts are damaged"):
        youtube_vis_ap(truth(track(A, torn)), [found(A, A)], as_benchmark=as_benchmark)


def test_damaged_masks_of_ignored_categories_are_refused_too():
    torn = {**A, "counts": A["counts"][:3]}
    with pytest.raises(DataError, match=r"results\[1\]: segmentations\[1\]: its counts are damaged"):
        youtube_vis_ap(truth(track(A, A)), [found(A, A), found(A, torn, category=9)], as_benchmark=True)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), "0.9", None])
def test_scores_are_finite_numbers(score):
    with pytest.raises(DataError, match=r"results\[0\]: score: expected a finite number"):
        youtube_vis_ap(truth(track(A, A)), [found(A, A, score=score)])


def test_a_missing_score_and_an_unknown_video_are_named():
    with pytest.raises(DataError, match=r"results\[0\]: score: missing"):
        youtube_vis_ap(truth(track(A, A)), [{key: v for key, v in found(A, A).items() if key != "score"}])
    with pytest.raises(DataError, match=r"results\[0\]: video_id: 9 is not"):
        youtube_vis_ap(truth(track(A, A)), [found(A, A, video=9)], as_benchmark=True)


def test_no_results_are_zeros_where_there_is_ground_truth():
    numbers = youtube_vis_ap(truth(track(A, A)), [])
    assert all(numbers[name] == 0 for name in ("AP", "AP50", "AP75", "APs", "AR1", "AR10", "AR100", "ARs"))


@pytest.mark.parametrize("annotations, state", [({"annotations": None}, "null"), ({}, "missing")])
def test_a_split_without_annotations_is_named_with_the_way_out(annotations, state, tmp_path):
    content = {key: value for key, value in truth().items() if key != "annotations"} | annotations
    (tmp_path / "valid.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"valid.json: annotations: {state}.*lightvid split-vis"):
        youtube_vis_ap(tmp_path / "valid.json", [])


def test_a_ground_truth_of_id_0_is_found_and_as_benchmark_never():
    zero = truth(track(A, A, id=0))
    assert youtube_vis_ap(zero, [found(A, A)])["AP"] == ONE
    assert youtube_vis_ap(zero, [found(A, A)], as_benchmark=True)["AP"] == 0


def test_polygons_and_both_kinds_of_run_lengths_are_the_same_ground_truth():
    polygon = [[2, 3, 8, 3, 8, 9, 2, 9]]
    runs = [2 * SIDE + 3, *([6, SIDE - 6] * 6)]
    uncompressed = {"size": [SIDE, SIDE], "counts": [*runs[:-1], SIDE * SIDE - sum(runs[:-1])]}
    compressed = box(2, 3, 6, 6)
    for mask in (polygon, uncompressed, compressed):
        given = {"video_id": 1, "category_id": 1, "segmentations": [mask]}
        assert youtube_vis_ap(truth(given, length=1), [found(compressed)])["AP"] == ONE


def test_a_crowd_takes_any_number_of_predictions_with_it():
    results = [found(A, A, score=0.9), found(A, A, score=0.8), found(B, B, score=0.7)]
    assert youtube_vis_ap(truth(track(A, A, iscrowd=1), track(B, B)), results)["AP"] == ONE


def test_a_track_is_found_once_and_the_better_score_takes_it():
    numbers = youtube_vis_ap(
        truth(track(A, A), track(B, B)), [found(A, A), found(A, A, score=0.8), found(B, B, score=0.7)]
    )
    assert numbers["AP"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_only_so_many_tracks_of_a_category_count_in_one_video():
    results = [found(B, B, score=1.0), found(A, A, score=0.9)]
    numbers = youtube_vis_ap(truth(track(A, A)), results)
    assert (numbers["AR1"], numbers["AR10"]) == (0, 1)
    crowded_out = [found(B, B, score=1.0)] * 100 + [found(A, A)]
    assert youtube_vis_ap(truth(track(A, A)), crowded_out)["AR100"] == 0


def test_the_mean_over_categories_is_that_of_the_categories_alone():
    ground_truth = truth(track(A, A), track(B, B, category=2), categories=3)
    scores = evaluate_youtube_vis(ground_truth, [found(A, A), found(B, None, category=2)])
    alone = scores.by_category()
    assert (alone[1]["AP"], alone[2]["AP50"], alone[3]["AP"]) == (ONE, ONE, -1)
    assert scores.numbers()["AP"] == pytest.approx((alone[1]["AP"] + alone[2]["AP"]) / 2)


def test_more_than_255_masks_of_a_track_are_measured():
    masks = [A] * 300
    assert youtube_vis_ap(truth(track(*masks), length=300), [found(*masks)])["AP"] == ONE


def test_as_benchmark_is_also_the_third_argument():
    assert youtube_vis_ap(truth(track(A, A)), [found(A)], True)["AP"] == ONE


def test_any_number_of_processes_gives_the_same_numbers_and_names_the_first_damaged_video():
    videos = range(1, 9)
    ground_truth = truth(*(track(A, B, video=video, category=1 + video % 2) for video in videos), videos=8)
    results = [found(A, A if video % 3 else B, video=video, category=1 + video % 2) for video in videos]
    one = youtube_vis_ap(ground_truth, results, processes=1)
    assert 0 < one["AP"] < 1
    assert youtube_vis_ap(ground_truth, results, processes=3) == youtube_vis_ap(ground_truth, results) == one
    for index in (3, 6):
        results[index]["segmentations"][1] = {**A, "counts": A["counts"][:3]}
    for processes in (1, 3):
        with pytest.raises(DataError, match=r"results\[3\]: segmentations\[1\]: its counts are damaged"):
            youtube_vis_ap(ground_truth, results, processes=processes)
    with pytest.raises(ConfigurationError, match="processes: 0"):
        youtube_vis_ap(ground_truth, results, processes=0)


def test_a_process_that_is_ended_from_outside_is_told_also_where_others_have_much_to_send(tmp_path, monkeypatch):
    parent, ended = os.getpid(), tmp_path / "ended"

    def match(*arguments):
        if os.getpid() == parent:
            while not ended.exists():  # or there might be no video left for the other processes
                time.sleep(0.01)
        else:
            with contextlib.suppress(FileExistsError):
                ended.touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return match_video(*arguments)

    monkeypatch.setattr("lightvid.metrics.youtube_vis.match_video", match)
    many = [track(A, B, video=video) for video in range(1, 9) for _ in range(300)]
    for processes in (2, 4):
        ended.unlink(missing_ok=True)
        with pytest.raises(ConfigurationError, match=f"processes: {processes}: one .* ended from outside"):
            youtube_vis_ap(truth(*many, videos=8), [], processes=processes)


def evaluate_until_the_others_are_there(pipe):
    """With three processes, of which this one then ends; the others go on when it has."""
    parent = os.getpid()

    def match(*arguments):
        if os.getpid() == parent:
            pipe.send([child.pid for child in multiprocessing.active_children()])
            os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            time.sleep(0.01)
        return match_video(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightvid.metrics.youtube_vis.match_video", match)
        many = [track(A, B, video=video) for video in range(1, 99) for _ in range(50)]  # more than a pipe holds
        youtube_vis_ap(truth(*many, videos=98), [], processes=3)


def is_running(process):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_no_process_outlives_the_one_that_evaluates():
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    evaluating = context.Process(target=evaluate_until_the_others_are_there, args=(sender,))
    evaluating.start()
    assert receiver.poll(120)
    children = receiver.recv()
    evaluating.join()
    assert len(children) == 2
    try:
        deadline = time.monotonic() + 60
        while any(map(is_running, children)):
            assert time.monotonic() < deadline, "orphans"
            time.sleep(0.05)
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def evaluate_in_a_daemon(queue):
    queue.put(youtube_vis_ap(truth(track(A, A)), [found(A, A)], processes=2)["AP"])


def test_a_daemonic_process_which_may_have_no_children_evaluates_alone():
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    daemon = context.Process(target=evaluate_in_a_daemon, args=(queue,), daemon=True)
    daemon.start()
    daemon.join(timeout=300)
    assert daemon.exitcode == 0
    assert queue.get() == ONE
