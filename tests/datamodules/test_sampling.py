"""What an epoch is made of, and how it is shared out."""

import numpy as np
import pytest

from lightvid.datamodules.sampling import (
    EpochSampler,
    ShardedBatches,
    ShardedRange,
    middle_frames,
    sample_clip,
    sample_frames,
)


def draws(sampling: str, count: int = 600) -> np.ndarray:
    return np.stack([sample_frames(np.random.default_rng(s), 30, 5, sampling) for s in range(count)])


def test_random_frames_are_distinct_sorted_and_cover_the_video():
    chosen = draws("random")
    assert (np.diff(chosen, axis=1) > 0).all()
    counts = np.bincount(chosen.ravel(), minlength=30)
    assert counts.min() > 60 and counts.max() < 140  # 100 expected of each


def test_consecutive_frames_start_anywhere():
    chosen = draws("consecutive")
    assert (np.diff(chosen, axis=1) == 1).all()
    assert set(chosen[:, 0]) == set(range(26))


def test_mixed_sampling_is_half_consecutive():
    consecutive = (np.diff(draws("mixed"), axis=1) == 1).all(axis=1).mean()
    assert consecutive == pytest.approx(0.5, abs=0.07)


def test_references_follow_a_run_and_are_other_frames_of_the_whole_video_in_order():
    starts, references = [], []
    for seed in range(800):
        chosen = sample_frames(np.random.default_rng(seed), 30, 5, "local_and_reference", references=3)
        assert (np.diff(chosen[:5]) == 1).all()
        assert (np.diff(chosen[5:]) > 0).all() and len(set(chosen)) == 8
        starts.append(chosen[0])
        references += chosen[5:].tolist()
    assert set(starts) == set(range(26))
    counts = np.bincount(references, minlength=30)
    # 3 of the 25 frames outside of the run: 96 expected of the ends, which runs seldom cover, and 80 of the middle
    assert len(counts) == 30 and counts.min() > 50 and counts.max() < 140


def test_a_video_as_long_as_run_and_references_gives_all_its_frames():
    chosen = sample_frames(np.random.default_rng(0), 8, 5, "local_and_reference", references=3)
    assert sorted(chosen.tolist()) == list(range(8))


@pytest.mark.parametrize("sampling", ["mixed", "random", "consecutive", "local_and_reference"])
def test_a_video_as_long_as_the_clip_gives_all_its_frames(sampling):
    assert sample_frames(np.random.default_rng(0), 5, 5, sampling).tolist() == [0, 1, 2, 3, 4]


def test_validation_frames_are_in_the_middle():
    assert middle_frames(11, 5).tolist() == [3, 4, 5, 6, 7]
    assert middle_frames(5, 5).tolist() == [0, 1, 2, 3, 4]


def test_an_epoch_takes_every_video_equally_often_under_ever_new_draws():
    sampler = EpochSampler(7, clips_per_video=3, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    for epoch in (first, second):
        assert np.bincount([video for _, video in epoch]).tolist() == [3] * 7
    assert [draw for draw, _ in first + second] == list(range(42))
    assert [video for _, video in first] != [video for _, video in second]


def test_two_processes_see_what_one_with_the_double_batch_sees():
    shards = [list(ShardedBatches(EpochSampler(11), 2, rank=rank, world_size=2)) for rank in (0, 1)]
    alone = list(ShardedBatches(EpochSampler(11), 4))
    assert [a + b for a, b in zip(*shards, strict=True)] == alone
    assert len({request for batch in alone for request in batch}) == 8


@pytest.mark.parametrize("videos", [1, 5, 8])
def test_validation_covers_every_video_once_over_all_processes(videos):
    shards = [list(ShardedRange(videos, rank=rank, world_size=2)) for rank in (0, 1)]
    assert sorted(video for shard in shards for _, video in shard) == list(range(videos))


def test_a_batch_sampler_can_start_in_the_middle():
    batches = ShardedBatches(EpochSampler(10), 2)
    whole = list(batches)
    batches.start = 3
    assert list(batches) == whole[3:] and len(batches) == 5


@pytest.mark.parametrize(("length", "count"), [(10, 4), (3, 8), (1, 3)])
def test_circular_clips_end_at_any_frame_and_wrap_around(length, count):
    ends = set()
    for seed in range(200):
        clip = sample_clip(np.random.default_rng(seed), length, count, "circular")
        f = clip[-1]
        assert clip.tolist() == [(f - count + 1 + j) % length for j in range(count)]
        ends.add(int(f))
    assert ends == set(range(length))


@pytest.mark.parametrize("sampling", ["consecutive", "spread"])
def test_short_videos_are_gone_through_to_and_fro(sampling):
    for seed in range(5):
        clip = sample_clip(np.random.default_rng(seed), 3, 8, sampling, max_stride=4)
        assert clip.tolist() == [0, 1, 2, 1, 0, 1, 2, 1]
        assert sample_clip(np.random.default_rng(seed), 1, 3, sampling).tolist() == [0, 0, 0]


def test_spread_clips_have_one_stride_within_the_range_and_start_anywhere():
    clips = [sample_clip(np.random.default_rng(s), 30, 5, "spread", max_stride=4) for s in range(400)]
    strides = {int(s) for clip in clips for s in np.diff(clip)}
    assert strides == {1, 2, 3, 4} and all(len(set(np.diff(clip))) == 1 for clip in clips)
    assert {int(clip[0]) for clip in clips} >= set(range(14)) and max(int(clip[-1]) for clip in clips) == 29


def test_consecutive_clips_are_runs_that_start_anywhere():
    clips = [sample_clip(np.random.default_rng(s), 12, 5, "consecutive") for s in range(200)]
    assert all((np.diff(clip) == 1).all() for clip in clips) and {int(clip[0]) for clip in clips} == set(range(8))
