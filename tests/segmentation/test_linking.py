"""Joining windows to tracks, scoring them, and choosing among queries."""

import itertools

import numpy as np
import pytest
import torch

from lightvid.annotations import rle
from lightvid.segmentation.linking import Instances, Linker
from lightvid.segmentation.masks import encode_masks
from lightvid.segmentation.queries import choose_queries
from lightvid.segmentation.scoring import PublishedScoring, SigmoidScoring
from lightvid.segmentation.similarity import jaccard
from lightvid.segmentation.tracks import Track
from lightvid.segmentation.windows import overlapping_windows, ping_pong, repeat


@pytest.mark.parametrize(
    ("length", "frames", "overlap"), [(1, 4, 2), (4, 4, 3), (5, 4, 2), (17, 4, 0), (36, 8, 7), (100, 36, 18)]
)
def test_windows_cover_every_frame_and_overlap(length, frames, overlap):
    windows = overlapping_windows(length, frames, overlap)
    assert {frame for window in windows for frame in window} == set(range(length))
    assert {len(window) for window in windows} == {min(length, frames)}
    assert all(a.start < b.start <= a.stop - overlap for a, b in itertools.pairwise(windows))


def test_short_videos_are_extended_in_their_order():
    assert ping_pong(3, 8) == [0, 1, 2, 1, 0, 1, 2, 1]
    assert ping_pong(1, 3) == [0, 0, 0]
    assert ping_pong(2, 4) == [0, 1, 0, 1]
    assert repeat(3, 8) == [0, 1, 2, 0, 1, 2, 0, 1]


def test_the_similarity_of_masks_is_their_iou_and_of_soft_masks_with_themselves_one():
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 0]]).float()
    assert jaccard(masks, masks).tolist() == [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]]
    soft = torch.rand(1, 50) * 0.2
    assert jaccard(soft, soft).item() == pytest.approx(1)


def instances(start, columns, classes, *, frames=4, confidence=0.9):
    """One per column: a mask that fills the column of a 3 x 8 picture."""
    masks = torch.full((len(columns), frames, 3, 8), -5.0)
    probabilities = torch.full((len(columns), frames, 2), 0.05)
    for row, (column, label) in enumerate(zip(columns, classes, strict=True)):
        masks[row, :, :, column] = 5.0
        probabilities[row, :, label] = confidence
    return Instances(start, masks, probabilities)


def join(*windows, patience=0):
    """Frames of each track's pieces, and the column of its masks."""
    linker = Linker(SigmoidScoring(), patience=patience)
    pieces = [piece for window in windows for piece in linker.add(window)] + linker.finish()
    tracks = {}
    for piece in pieces:
        frames, columns = tracks.setdefault(piece.track, ([], set()))
        frames.extend(range(piece.start, piece.start + len(piece.masks)))
        columns.update((piece.masks > 0).any(1).nonzero()[:, 1].tolist())
    return tracks


def test_tracks_go_on_in_whatever_order_the_instances_come():
    tracks = join(instances(0, [1, 4, 6], [0, 1, 0]), instances(2, [6, 1, 4], [0, 0, 1]), instances(4, [4, 6], [1, 0]))
    assert tracks == {0: ([0, 1, 2, 3, 4, 5], {1}), 1: (list(range(8)), {4}), 2: (list(range(8)), {6})}


def test_an_instance_elsewhere_begins_a_new_track_and_a_lost_one_is_closed():
    assert join(instances(0, [1], [0]), instances(2, [5], [0])) == {0: ([0, 1, 2, 3], {1}), 1: ([2, 3, 4, 5], {5})}


def test_windows_without_shared_frames_or_without_instances_begin_anew():
    assert len(join(instances(0, [1], [0]), instances(4, [1], [0]))) == 2
    empty = instances(2, [], [])
    assert join(instances(0, [1], [0]), empty, instances(4, [1], [0])) == {
        0: ([0, 1, 2, 3], {1}),
        1: ([4, 5, 6, 7], {1}),
    }
    assert join(empty) == {}


def test_a_track_that_a_window_missed_goes_on_where_it_was_last_seen_unless_too_late_or_of_another_class():
    seen, missed, again = instances(0, [1, 6], [0, 1]), instances(2, [6], [1]), instances(4, [1, 6], [0, 1])
    assert len(join(seen, missed, again)) == 3
    found = join(seen, missed, again, patience=4)
    assert set(found) == {0, 1}
    assert found[0][0] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert len(join(seen, missed, instances(4, [6], [1]), instances(8, [1], [0]), patience=4)) == 3
    assert len(join(seen, missed, instances(4, [4, 6], [0, 1]), patience=4)) == 3


def test_the_frames_of_a_track_found_again_follow_each_other_with_gaps_and_without_doubles():
    track = Track(2)
    mask = rle.encode(np.ones((2, 2), bool))
    track.append(2, [mask, mask], torch.full((2, 3), 0.5))
    track.append(6, [mask, None], torch.full((2, 3), 0.6))
    track.append(7, [mask, mask], torch.full((2, 3), 0.7))
    assert [m is not None for m in track.masks] == [True, True, False, False, True, False, True]
    assert torch.cat(track.probabilities)[:, 0].tolist() == pytest.approx([0.5, 0.5, 0, 0, 0.6, 0.6, 0.7])


def test_classes_decide_between_equal_masks():
    linker = Linker(SigmoidScoring())
    linker.add(instances(0, [3, 3], [0, 1]))
    linker.add(instances(2, [3, 3], [1, 0]))
    means = {piece.track: piece.probabilities.mean(0).argmax().item() for piece in linker.finish()}
    assert means == {0: 0, 1: 1}


def test_shared_frames_are_averaged_with_less_weight_at_the_edges():
    linker = Linker(SigmoidScoring())
    linker.add(instances(0, [3], [0], confidence=0.6))
    first = linker.add(instances(2, [3], [0], confidence=0.9))
    assert [piece.probabilities[:, 0].tolist() for piece in first] == [pytest.approx([0.6, 0.6])]
    (last,) = linker.finish()
    # weights of a window of four: 1 2 2 1
    shared = [(2 * 0.6 + 1 * 0.9) / 3, (1 * 0.6 + 2 * 0.9) / 3]
    assert last.probabilities[:, 0].tolist() == pytest.approx([*shared, 0.9, 0.9])


def test_three_windows_over_one_frame_are_averaged_alike():
    linker = Linker(SigmoidScoring())
    for start, confidence in enumerate((0.3, 0.6, 0.9)):
        pieces = linker.add(instances(start, [3], [0], confidence=confidence))
    assert pieces[0].start == 1
    last = linker.finish()[0]
    assert last.probabilities[0, 0].item() == pytest.approx((2 * 0.3 + 2 * 0.6 + 1 * 0.9) / 5)


def test_a_sigmoid_track_scores_the_mean_of_its_present_frames():
    scoring = SigmoidScoring(visibility=0.25, further_classes=0.2)
    probabilities = torch.tensor([[0.8, 0.3, 0.0], [0.6, 0.3, 0.1], [0.1, 0.1, 0.1]])
    assert scoring.visible(probabilities).tolist() == [True, True, False]
    present = torch.tensor([True, True, False])
    assert scoring.classes(probabilities, present) == [(0, pytest.approx(0.7)), (1, pytest.approx(0.3))]
    best_alone = SigmoidScoring(further_classes=None)
    assert best_alone.classes(probabilities, present) == [(0, pytest.approx(0.7))]
    assert scoring.classes(probabilities, torch.zeros(3, dtype=torch.bool)) == []


def test_a_published_track_has_the_most_frequent_label_and_of_equals_the_first():
    scoring = PublishedScoring()
    present = torch.ones(4, dtype=torch.bool)
    labels = torch.tensor([2, 1, 2, 1])
    probabilities = torch.nn.functional.one_hot(labels, 4) * 0.5
    assert scoring.classes(probabilities, present) == [(0, 0.5)]
    not_visible = torch.nn.functional.one_hot(torch.tensor([0, 0, 2, 0]), 4) * 0.5
    assert scoring.classes(not_visible, present) == []
    assert scoring.visible(torch.tensor([[0.0009, 0.0], [0.001, 0.0]])).tolist() == [False, True]


def test_duplicates_go_and_other_classes_stay():
    found = instances(0, [2, 2, 2, 5], [0, 0, 1, 0])
    found.probabilities[1] *= 0.8
    options = {"mask_threshold": 0.0, "score_threshold": 0.0}
    chosen = choose_queries(found.probabilities, found.masks, SigmoidScoring(), duplicate_iou=0.6, **options)
    assert chosen == [0, 2, 3]
    everything = choose_queries(found.probabilities, found.masks, SigmoidScoring(), duplicate_iou=None, **options)
    assert everything == [0, 2, 3, 1]


def test_a_mask_is_a_mask_of_its_pixels_at_any_size():
    logits = torch.full((2, 5, 7), -1.0)
    logits[0, 1:3, 2:5] = 1
    # Cells of 4 pixels; the frame ends within the last ones.
    (code, nothing) = encode_masks(logits, (18, 27), 0.0, extent=(18 / 20, 27 / 28))
    assert nothing is None
    expected = np.zeros((18, 27), np.uint8)
    expected[4:12, 8:20] = 1
    found = rle.decode(code, 18, 27, "mask")
    assert found.sum() > 0.8 * expected.sum()
    assert not (found > expected).any()


def test_many_masks_are_enlarged_in_parts_with_the_same_result(monkeypatch):
    logits = torch.randn(5, 6, 9)
    whole = encode_masks(logits, (25, 37), 0.0)
    monkeypatch.setattr("lightvid.segmentation.masks.PIXELS_AT_ONCE", 2 * 25 * 37)
    assert encode_masks(logits, (25, 37), 0.0) == whole
