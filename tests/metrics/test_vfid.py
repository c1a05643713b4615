"""The features of VFID, with a network small enough to know them."""

import numpy as np
from torch import nn

from lightvid.metrics import VideoFeatures


class MeanColour(nn.Module):
    """Three features, and what was asked for."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def forward(self, clip):
        self.lengths.append(clip.shape[1])
        return clip.mean((1, 3, 4))


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
