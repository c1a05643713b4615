"""The whole network for video instance segmentation, dense and deformable."""

from functools import partial

import pytest
import torch
from torch import nn

from lightvid.attention import DeformableAttention, DeformableCrossAttention
from lightvid.backbone import MLP, SinePositions, SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.heads import DynamicMaskHead, InstanceQueries, QueryDecoder
from lightvid.networks import InstanceSegmenter, deformable_vistr, vistr
from lightvid.profiling import flops
from lightvid.stems import ImageStem, PyramidOutput

RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
PRESET = {"classes": 3, "channels": 128, "hidden": 32, "layers": 2, "frames": 3}
RESNET_STEM = {"model": "resnet", "stem_options": {"options": RESNET, "frozen": 0, "normalisation": "group"}}


def dense(**options):
    return vistr(**{**PRESET, **RESNET_STEM, "instances": 2} | options)


def deformable(instances=2, stem=None, residual="additive"):
    """Box refinement, sigmoid classes and dynamic masks."""
    stem = stem or ImageStem(24, model="resnet", **RESNET_STEM["stem_options"])
    backbone = SpatioTemporalTransformer(
        24,
        blocks=2,
        mixer=partial(DeformableAttention, heads=2, points=3),
        feed_forward=partial(MLP, hidden=24),
        norm="pre",
        residual=residual,
        positions=SinePositions(24),
        positions_at="attention",
        final_norm=True,
    )
    decoder = QueryDecoder(
        24,
        classes=3,
        queries=partial(InstanceQueries, instances=instances),
        layers=2,
        cross_attention=partial(DeformableCrossAttention, heads=2, points=3),
        heads=2,
        hidden=24,
        refine_boxes=True,
    )
    return InstanceSegmenter(
        stem, backbone, decoder, DynamicMaskHead(24, feature_channels=stem.feature_channels, width=16)
    )


def disturbed(network):
    for name, parameter in network.named_parameters():
        if "norm" not in name and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.15)
    return network


@pytest.mark.parametrize(("make", "logits"), [(dense, 5), (deformable, 3)])
@pytest.mark.parametrize(("frames", "instances"), [(1, 1), (3, 2), (36, 1)])
def test_clips_of_any_length_and_odd_sizes(make, logits, frames, instances):
    with torch.inference_mode():
        output = make(instances=instances).eval()(torch.randn(1, frames, 3, 97, 161))
    assert output.logits.shape == (1, frames, instances, logits)
    assert output.boxes.shape == (1, frames, instances, 4)
    assert output.masks.shape == (1, frames, instances, 25, 41)
    assert [layer.logits.shape for layer in output.auxiliary] == [output.logits.shape]
    assert all(tensor.isfinite().all() for tensor in (output.logits, output.boxes, output.masks))


@pytest.mark.parametrize("residual", ["additive", "checkpoint"])
@pytest.mark.parametrize("make", [dense, deformable, partial(deformable_vistr, points=2, **PRESET, **RESNET_STEM)])
def test_gradients_reach_every_parameter(make, residual):
    network = disturbed(make(residual=residual))
    output = network(torch.randn(2, 3, 3, 64, 64))
    layers = [(output.logits, output.boxes), *output.auxiliary]
    loss = output.masks.square().mean() + sum(part.square().mean() for layer in layers for part in layer)
    loss.backward()
    unreached = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert unreached == []


def test_recomputing_encoder_and_stem_gives_the_same_gradients():
    kept, saving = dense(dropout=0.0), dense(dropout=0.0, residual="checkpoint")
    saving.stem.recompute = True
    saving.load_state_dict(kept.state_dict())
    frames = torch.randn(1, 2, 3, 64, 64)

    def gradients(network):
        output = network(frames)
        (output.masks.square().mean() + output.logits.square().mean()).backward()
        return [p.grad for p in network.parameters() if p.grad is not None]

    torch.testing.assert_close(gradients(saving), gradients(kept), rtol=1e-3, atol=1e-4)


class PatchStem(nn.Module):
    """Non-overlapping patches: what a cell knows ends with its pixels."""

    def __init__(self, channels):
        super().__init__()
        self.channels, self.feature_channels = channels, [4, 4]
        self.first, self.second = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 2, 2)
        self.projection = nn.Conv2d(4, channels, 1)

    def forward(self, frames, padding=None):
        first = self.first(frames.flatten(0, 1))
        second = self.second(first)
        tokens = self.projection(second).unflatten(0, frames.shape[:2]).permute(0, 1, 3, 4, 2)
        return PyramidOutput(tokens, [first, second], None if padding is None else padding[..., ::8, ::8])


def dense_on_patches():
    network = dense()
    network.stem = PatchStem(128)
    network.mask_head = DynamicMaskHead(128, feature_channels=[4, 4], width=16)
    return network


def without_neighbourhoods(head):
    """The mask head with 3x3 convolutions that see one cell, and no statistics over the map, padding included."""
    for index, (convolution, _, activation) in enumerate(head.smooth):
        centre = nn.Conv2d(convolution.in_channels, convolution.out_channels, 1)
        centre.weight.data = convolution.weight.data[..., 1:2, 1:2]
        head.smooth[index] = nn.Sequential(centre, activation)
    return head


@pytest.mark.parametrize("make", [dense_on_patches, lambda: deformable(stem=PatchStem(24))])
def test_clips_of_different_sizes_in_one_batch_give_what_each_gives_alone(make):
    network = disturbed(make()).eval()
    without_neighbourhoods(network.mask_head)
    clips = [torch.randn(1, 3, 3, 32, 48), torch.randn(1, 3, 3, 48, 24)]
    frames, padding = torch.zeros(2, 3, 3, 48, 48), torch.ones(2, 3, 48, 48, dtype=torch.bool)
    for index, clip in enumerate(clips):
        height, width = clip.shape[-2:]
        frames[index, ..., :height, :width] = clip
        padding[index, :, :height, :width] = False
    with torch.inference_mode():
        together = network(frames, padding)
        for index, clip in enumerate(clips):
            alone = network(clip)
            torch.testing.assert_close(together.logits[index], alone.logits[0], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(together.boxes[index], alone.boxes[0], rtol=1e-4, atol=1e-4)
            height, width = alone.masks.shape[-2:]
            inside = slice(0, height - 2), slice(0, width - 2)  # bilinear interpolation mixes in what lies beyond
            ours, expected = together.masks[index][..., *inside], alone.masks[0][..., *inside]
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def encoder_flops(preset, frames):
    with torch.device("meta"):
        network = preset(layers=1)
        tokens = torch.empty(1, frames, 10, 17, 384)
    mixer = network.backbone.blocks[0].mixer
    with torch.no_grad():
        return flops(lambda: mixer(tokens))


def test_cost_of_the_deformable_encoder_is_linear_in_the_frames_and_of_the_dense_one_quadratic():
    assert encoder_flops(deformable_vistr, 36) / encoder_flops(deformable_vistr, 4) == pytest.approx(9, rel=0.01)
    per_frame = {frames: encoder_flops(vistr, frames) / frames for frames in (4, 8, 36)}
    # beside a part for the projections that is constant, a frame's cost grows with the number of frames
    assert (per_frame[36] - per_frame[4]) / (per_frame[8] - per_frame[4]) == pytest.approx(8, rel=0.01)
    assert per_frame[36] > 4 * per_frame[4]


def test_deformable_vistr_has_as_many_parameters_as_the_papers_description():
    with torch.device("meta"):
        network = deformable_vistr()
    # a query's frame is the third coordinate of its reference, so two are predicted: 770 parameters for 1,155
    assert sum(p.numel() for p in network.parameters()) == 58_300_004 - 1_155 + 770


def test_parts_that_do_not_fit_are_refused_in_one_line():
    stem = ImageStem(24, model="resnet", options=RESNET)
    backbone, decoder = SpatioTemporalTransformer(24, blocks=1), QueryDecoder(24, classes=2, layers=1)
    for parts, message in (
        (
            (ImageStem(16, model="resnet", options=RESNET), backbone, decoder),
            "the stem has 16 channels and the backbone 24",
        ),
        ((stem, backbone, QueryDecoder(32, classes=2, layers=1)), "the decoder has 32 channels and the backbone 24"),
        ((stem, backbone, decoder), "set mask_head.feature_channels to [8, 8, 16, 16]"),
    ):
        with pytest.raises(ConfigurationError) as error:
            InstanceSegmenter(*parts, DynamicMaskHead(24, feature_channels=[8], width=16))
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_frames_and_padding_of_another_shape_are_refused():
    network = deformable()
    with pytest.raises(ValueError, match=r"expected frames \(B, T, 3, H, W\), got \(3, 3, 32, 32\)"):
        network(torch.zeros(3, 3, 32, 32))
    with pytest.raises(ValueError, match=r"expected a padding mask \(1, 2, 32, 32\)"):
        network(torch.zeros(1, 2, 3, 32, 32), torch.zeros(1, 2, 8, 8, dtype=torch.bool))
