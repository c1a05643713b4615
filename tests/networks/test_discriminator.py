import pytest
import torch

from lightvid.networks import TPatchGAN


def weights(network):
    return [conv.weight for conv in network.convs]


@pytest.mark.parametrize(("channels", "count"), [(64, 17_832_256), (32, 4_461_728)])
def test_the_published_sizes(channels, count):
    with torch.device("meta"):
        network = TPatchGAN(channels)
        scores = network(torch.empty(1, 5, 3, 240, 432))
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert scores.shape == (1, 5, 4 * channels, 4, 7)


@pytest.mark.parametrize("size", [(64, 96), (16, 16), (3, 3)])
def test_small_videos_are_scored_frame_by_frame(size):
    assert TPatchGAN(4)(torch.randn(2, 3, 3, *size)).shape[:3] == (2, 3, 16)


def test_all_weights_but_the_last_have_spectral_norm_one():
    torch.manual_seed(0)
    network = TPatchGAN(4)
    for _ in range(100):  # each forward pass in training mode brings the estimate closer
        network(torch.randn(1, 1, 3, 8, 8))
    norms = [torch.linalg.matrix_norm(weight.flatten(1), 2) for weight in weights(network.eval())]
    torch.testing.assert_close(torch.stack(norms[:-1]), torch.ones(5), atol=0.02, rtol=0)
    assert abs(norms[-1] - 1) > 0.05


def test_scores_in_evaluation_do_not_move_the_estimate():
    network = TPatchGAN(4).eval()
    video = torch.randn(1, 2, 3, 16, 16)
    assert torch.equal(network(video), network(video))


def test_clips_of_a_batch_see_each_other_only_when_merged_into_time():
    network = TPatchGAN(4).eval()
    video = torch.randn(2, 2, 3, 16, 16)
    alone = torch.cat([network(clip) for clip in video.split(1)])
    torch.testing.assert_close(network(video), alone)
    network.merge_batch_into_time = True
    merged = network(video)
    assert merged.shape == alone.shape
    assert not torch.allclose(merged, alone)
    torch.testing.assert_close(merged.flatten(0, 1)[None], network(video.flatten(0, 1)[None]))


def test_under_autocast_only_the_convolutions_run_in_bfloat16():
    network = TPatchGAN(8).eval()
    video = torch.randn(1, 2, 3, 32, 32)
    at_normalisation = []
    for conv in network.convs[:-1]:
        normalise = conv.parametrizations.weight[0]
        normalise.register_forward_pre_hook(lambda *_: at_normalisation.append(torch.is_autocast_enabled("cpu")))
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(video)
    assert at_normalisation == [False] * 5
    assert scores.dtype == torch.bfloat16
    torch.testing.assert_close(scores.float(), network(video), atol=0.02, rtol=0.05)


def test_the_input_is_not_changed():
    video = torch.randn(1, 2, 3, 16, 16)
    before = video.clone()
    TPatchGAN(4)(video)
    assert torch.equal(video, before)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"got \(2, 3, 16, 16\)"):
        TPatchGAN(4)(torch.randn(2, 3, 16, 16))
