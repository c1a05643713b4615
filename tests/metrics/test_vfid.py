"""VFID with a network small enough to know its features."""

from datetime import timedelta

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn

from lightvid.metrics import VFID, VideoFeatures, frechet_distance


class MeanColour(nn.Module):
    """Three features, and what was asked for."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def forward(self, clip):
        self.lengths.append(clip.shape[1])
        return clip.mean((1, 3, 4))


def videos(count, seed):
    return torch.rand(count, 4, 3, 6, 8, generator=torch.Generator().manual_seed(seed))


def test_it_is_the_distance_between_one_vector_of_each_video():
    metric = VFID(MeanColour(), channels=3)
    restored, truth = videos(5, 0), videos(5, 1) ** 2
    metric.update(restored[:3], truth[:3])
    metric.update(restored[3:], truth[3:])
    expected = frechet_distance(restored.mean((1, 3, 4)), truth.mean((1, 3, 4)))
    assert metric.compute().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_equal_videos_are_at_distance_0_and_one_video_has_none():
    metric = VFID(MeanColour(), channels=3)
    metric.update(videos(1, 0), videos(1, 0))
    assert metric.compute().isnan()
    metric.update(videos(4, 2), videos(4, 2))
    assert metric.compute().item() == pytest.approx(0, abs=1e-6)
    metric.reset()
    assert metric.compute().isnan()


def distances(rank, store):
    """Of five videos that two processes share 2 to 3, and 5 to 0."""
    timeout = timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=timeout)
    try:
        found = []
        for share in ((slice(0, 2), slice(2, 5)), (slice(0, 5), slice(0, 0))):
            metric = VFID(MeanColour(), channels=3)
            if len(range(5)[share[rank]]):
                metric.update(videos(5, 0)[share[rank]], videos(5, 1)[share[rank]] ** 2)
            found.append(metric.compute().item())
        return found
    finally:
        dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
@pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of PyTorch has no gloo")
def test_processes_with_unequal_shares_find_the_distance_of_all_videos(tmp_path):
    other = multiprocessing.get_context("spawn").Process(target=distances, args=(1, tmp_path / "store"))
    other.start()
    try:
        found = distances(0, tmp_path / "store")
    finally:
        other.join(timeout=30)
        other.kill()
    metric = VFID(MeanColour(), channels=3)
    metric.update(videos(5, 0), videos(5, 1) ** 2)
    assert found == pytest.approx([metric.compute().item()] * 2, rel=1e-5)


def test_a_video_is_seen_whole_as_in_the_papers_or_in_overlapping_chunks():
    frames = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 3)).astype(np.uint8)
    whole, chunks = VideoFeatures(MeanColour()), VideoFeatures(MeanColour(), whole=False)
    for start in range(0, 150, 7):
        whole.update(frames[start : start + 7])
        chunks.update(frames[start : start + 7])
    np.testing.assert_allclose(whole.compute(), frames.mean((0, 1, 2)) / 255, rtol=1e-5)
    parts = [frames[start:end].mean((0, 1, 2)) / 255 for start, end in ((0, 64), (32, 96), (64, 128), (96, 150))]
    np.testing.assert_allclose(chunks.compute(), np.mean(parts, axis=0), rtol=1e-5)
    assert whole._network.lengths == [150]


def test_a_video_of_one_chunk_is_seen_once():
    features = VideoFeatures(network := MeanColour(), whole=False)
    features.update(np.zeros((64, 4, 4, 3), np.uint8))
    assert features.compute().shape == (3,)
    assert network.lengths == [64]
