import pytest
import torch

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.heads import ConvDecoder, SoftCompositionDecoder
from lightvid.networks import InpaintingGenerator, e2fgvi, fast_sttn, sttn
from lightvid.profiling import flops
from lightvid.stems import ConvStem, SoftSplitStem


def tiny(channels=16, *, recompute=False, init="default", **options):
    return InpaintingGenerator(
        ConvStem(channels, recompute=recompute),
        SpatioTemporalTransformer(channels, blocks=1, **options),
        ConvDecoder(channels, recompute=recompute),
        init=init,
    )


def clip(batch=1, frames=2, height=16, width=24):
    return torch.rand(batch, frames, 3, height, width) * 2 - 1, torch.ones(batch, frames, 1, height, width)


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_sttn_has_the_published_number_of_parameters_under_every_full_width_scheme():
    with torch.device("meta"):
        assert parameters(sttn()) == parameters(sttn(residual="reversible")) == 16_556_163
        network = sttn()
    assert parameters(network.stem) == 407_744
    assert parameters(network.head) == 407_491
    assert parameters(network.backbone) == 15_740_928


def test_sttn_has_the_published_cost():
    with torch.device("meta"):
        network, video, masks = sttn(), torch.empty(1, 8, 3, 240, 432), torch.empty(1, 8, 1, 240, 432)
    with torch.no_grad():
        multiply_adds = flops(lambda: network(video, masks)) / 2
    assert multiply_adds == pytest.approx(1031.6e9, rel=1e-3)


def test_e2fgvi_has_the_published_cost_without_what_is_attended_to_twice():
    with torch.device("meta"):
        network, video, masks = e2fgvi(), torch.empty(1, 8, 3, 240, 432), torch.empty(1, 8, 1, 240, 432)
    with torch.no_grad():
        multiply_adds = flops(lambda: network(video, masks, local_frames=5)) / 2
    blocks, windows, queries, channels = 8, 16, 8 * 45, 512
    repeated_keys = 8 * (210 - 169)  # a frame's keys as published, and the distinct ones that exist
    saved = 2 * blocks * windows * queries * repeated_keys * channels
    assert multiply_adds + saved == pytest.approx(694.7e9, rel=1e-3)


def test_fast_sttn_is_sttn_with_two_half_width_streams():
    with torch.device("meta"):
        network = fast_sttn(chunks=3)
    assert parameters(network.backbone) == pytest.approx(15_740_928 / 4, rel=0.01)
    assert network.backbone.residual == "reversible_split"
    assert network.backbone.blocks[0].feed_forward.chunks == 3


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 22), (64, 112)])
def test_any_frame_size_comes_back_in_range(size):
    frames, masks = clip(2, 3, *size)
    output = tiny()(frames, masks, local_frames=2)
    assert output.frames.shape == frames.shape
    assert output.frames.abs().max() <= 1
    assert output.flows is None


def test_a_clip_does_not_depend_on_its_batch():
    network = tiny()
    frames, masks = clip(2)
    torch.testing.assert_close(network(frames, masks).frames[:1], network(frames[:1], masks[:1]).frames)


def test_frames_look_at_each_other():
    network = tiny()
    frames, masks = clip()
    other = torch.cat((frames[:, :1], -frames[:, 1:]), dim=1)
    assert not torch.allclose(network(frames, masks).frames[:, 0], network(other, masks).frames[:, 0])


@pytest.mark.parametrize("residual", ["additive", "checkpoint", "reversible", "reversible_split"])
def test_inference_gives_what_training_gives(residual):
    network = tiny(residual=residual)
    frames, masks = clip(2, 3, 33, 47)
    trained = network(frames, masks).frames
    assert trained.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(network(frames, masks).frames, trained)


def test_recomputed_ends_give_the_same_gradients():
    networks = tiny(), tiny(recompute=True)
    networks[1].load_state_dict(networks[0].state_dict())
    frames, masks = clip()
    for network in networks:
        network(frames, masks).frames.square().sum().backward()
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_published_initial_weights_are_normal_with_deviation_0_02_and_no_bias():
    network = tiny(64, init="published", norm="pre")
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        elif "norm" in name:
            assert (parameter == 1).all()
        elif parameter.numel() > 4096:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("frames", "masks", "options", "message"),
    [
        ((2, 3, 8, 8), (2, 1, 8, 8), {}, r"expected frames \(B, T, 3, H, W\), got \(2, 3, 8, 8\)"),
        ((1, 2, 1, 8, 8), (1, 2, 1, 8, 8), {}, r"got \(1, 2, 1, 8, 8\)"),
        ((1, 2, 3, 8, 8), (1, 2, 1, 8, 9), {}, r"expected masks \(1, 2, 1, 8, 8\)"),
        ((1, 2, 3, 8, 8), (1, 2, 3, 8, 8), {}, r"got \(1, 2, 3, 8, 8\)"),
        ((1, 2, 3, 8, 8), (1, 2, 1, 8, 8), {"local_frames": 3}, "1 to 2 local frames"),
        ((1, 2, 3, 8, 8), (1, 2, 1, 8, 8), {"local_frames": 0}, "got 0"),
    ],
)
def test_wrong_shapes_are_named_in_one_line(frames, masks, options, message):
    with pytest.raises(ValueError, match=message) as error:
        tiny()(torch.zeros(frames), torch.zeros(masks), **options)
    assert "\n" not in str(error.value)


def test_parts_of_different_widths_are_refused():
    with pytest.raises(ConfigurationError, match="the head has 32 channels and the backbone 16"):
        InpaintingGenerator(ConvStem(16), SpatioTemporalTransformer(16), ConvDecoder(32))
    with pytest.raises(ConfigurationError, match="divisible by 4, got 18"):
        ConvStem(18)


def test_a_stem_and_a_head_that_do_not_belong_together_are_refused():
    soft = SoftSplitStem(16, base=16, widths=(16, 32, 16, 16, 8))
    with pytest.raises(ConfigurationError, match="the head takes no features from the stem, which gives 8"):
        InpaintingGenerator(soft, SpatioTemporalTransformer(16, blocks=1), ConvDecoder(16))
    with pytest.raises(ConfigurationError, match="takes 12 features from the stem, which gives none"):
        head = SoftCompositionDecoder(16, features=12, hidden=4)
        InpaintingGenerator(ConvStem(16), SpatioTemporalTransformer(16, blocks=1), head)


def test_with_mask_input_the_masks_reach_the_first_layer():
    backbone = SpatioTemporalTransformer(16, blocks=1)
    network = InpaintingGenerator(ConvStem(16, inputs=4), backbone, ConvDecoder(16), mask_input=True)
    frames, masks = clip()
    assert not torch.equal(network(frames, masks).frames, network(frames, 0 * masks).frames)


def test_a_stem_of_other_planes_than_the_input_is_refused():
    backbone = SpatioTemporalTransformer(16, blocks=1)
    with pytest.raises(ConfigurationError, match="inputs=4"):
        InpaintingGenerator(ConvStem(16), backbone, ConvDecoder(16), mask_input=True)
