"""Flow-guided propagation: what reaches which frame, in both orders of the flows."""

import pytest
import torch

from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.heads import ConvDecoder
from lightvid.networks import EncodedFrames, InpaintingGenerator, e2fgvi, e2fgvi_hq
from lightvid.stems import ConvStem, FlowGuidedPropagation, SPyNet

SMALL = {"levels": 2, "widths": (4, 4), "kernel": 3}


def propagation(**options):
    torch.manual_seed(0)
    module = FlowGuidedPropagation(8, flow=SPyNet(**SMALL), groups=4, **options).double()
    for parameter in module.parameters():  # the offsets begin at zero
        torch.nn.init.normal_(parameter, std=0.2)
    return module


def clip(frames, seed=1):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, frames, 6, 10, 8, generator=generator, dtype=torch.float64)
    flows = [torch.randn(1, frames - 1, 2, 6, 10, generator=generator, dtype=torch.float64) for _ in range(2)]
    return features, tuple(flows)


def test_every_local_frame_reaches_every_other():
    module = propagation()
    features, flows = clip(4)
    features.requires_grad_()
    for frame in range(4):
        (gradient,) = torch.autograd.grad(module(features, flows)[:, frame].square().sum(), features)
        assert (gradient.flatten(2).abs().amax(-1) > 0).all()


def test_the_two_orders_of_flows_agree_for_two_frames_and_differ_for_three():
    ours, published = propagation(), propagation(published_flow_order=True)
    for frames, equal in ((2, True), (3, False)):
        features, flows = clip(frames)
        assert torch.equal(ours(features, flows), published(features, flows)) == equal


def test_the_backward_pass_takes_the_flow_that_starts_at_its_frame():
    """A changed flow of the first frame changes its own alignment, the backward pass's last, and no other."""
    features, (forward, backward) = clip(4)
    changed = forward.clone()
    changed[:, 0] += 1
    module = propagation()
    states = {}

    def note(label):
        return lambda _module, _inputs, output: states.setdefault(label, []).append(output)

    for label, flow in (("before", forward), ("after", changed)):
        handle = module.backward_alignment.register_forward_hook(note(label))
        module(features, (flow, backward))
        handle.remove()
    equal = [torch.equal(a, b) for a, b in zip(states["before"], states["after"], strict=True)]
    assert equal == [True, True, False]


def test_at_its_start_the_alignment_follows_the_flow_at_half_weight():
    module = FlowGuidedPropagation(4, flow=SPyNet(**SMALL), groups=2).backward_alignment.double()
    with torch.no_grad():  # the centre tap passes the last frame's state on
        module.weight.zero_()
        module.weight[:, :4, 1, 1] = torch.eye(4)
    state = torch.randn(1, 4, 5, 7, dtype=torch.float64)
    flow = torch.zeros(1, 2, 5, 7, dtype=torch.float64)
    flow[:, 0] = 2  # two pixels to the right
    aligned = module(torch.zeros_like(state), state, flow, None)
    torch.testing.assert_close(aligned[..., :5], state[..., 2:] / 2)


def test_one_frame_passes():
    features, _ = clip(2)
    module = propagation()
    frames = torch.rand(1, 1, 3, 6, 10, dtype=torch.float64)
    assert module(features[:, :1], module.flows(frames)).shape == features[:, :1].shape


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ConfigurationError, match="groups is even and divides twice the 8 channels, got 3"):
        FlowGuidedPropagation(8, groups=3)


def generator():
    torch.manual_seed(0)
    stem = ConvStem(8, propagation=FlowGuidedPropagation(8, flow=SPyNet(**SMALL), groups=4))
    network = InpaintingGenerator(stem, SpatioTemporalTransformer(8, blocks=1), ConvDecoder(8), pad_to=(24, 24))
    for parameter in network.stem.propagation.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def masked(frames=5, height=24, width=40):
    generator = torch.Generator().manual_seed(2)
    video = torch.rand(1, frames, 3, height, width, generator=generator) * 2 - 1
    masks = (torch.rand(1, frames, 1, height, width, generator=generator) > 0.7).float()
    return video * (1 - masks), masks


@torch.no_grad()
def test_encoding_frames_one_by_one_and_restoring_equals_the_whole_network():
    network = generator()
    frames, masks = masked()
    whole = network(frames, masks, local_frames=3)
    parts = [network.encode(frames[:, t : t + 1], masks[:, t : t + 1]) for t in range(5)]
    encoded = EncodedFrames.cat(parts)
    before = encoded.features.clone()
    again = network.restore(encoded[:, [0, 1, 2, 3, 4]], local_frames=3, flows=network.flows(encoded[:, :3]), decode=3)
    torch.testing.assert_close(again.frames, whole.frames[:, :3], rtol=1e-4, atol=1e-5)
    for once, twice in zip(whole.flows, again.flows, strict=True):
        torch.testing.assert_close(once, twice)
    network.restore(encoded, local_frames=3)
    assert torch.equal(encoded.features, before)


@torch.no_grad()
def test_the_order_of_reference_frames_does_not_matter_that_of_local_ones_does():
    network = generator()
    frames, masks = masked()
    whole = network(frames, masks, local_frames=3).frames
    for order, local_stay in (([0, 1, 2, 4, 3], True), ([1, 0, 2, 3, 4], False)):
        other = network(frames[:, order], masks[:, order], local_frames=3).frames
        assert torch.allclose(other, whole[:, order], atol=1e-5) == local_stay


@torch.no_grad()
def test_a_mirrored_frame_is_cut_again():
    network = generator()
    network.pad_mode = "mirror"
    frames, masks = masked(2, 10, 30)
    rows = [*range(10), *reversed(range(10)), *range(4)]
    columns = [*range(30), *reversed(range(12, 30))]
    large = network(frames[..., rows, :][..., columns], masks[..., rows, :][..., columns]).frames
    torch.testing.assert_close(network(frames, masks).frames, large[..., :10, :30])


def test_published_numbers_of_parameters():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in make().parameters()) for make in (e2fgvi, e2fgvi_hq)]
    assert counts == [41_799_743, 41_117_887]


@pytest.mark.parametrize("layout", ["openmmlab", "basicsr"])
def test_spynet_starts_from_a_published_file_of_either_layout(layout, tmp_path):
    torch.manual_seed(3)
    source = SPyNet()
    state = {}
    for name, tensor in source.state_dict().items():
        _, level, index, kind = name.split(".")
        number = f"{int(index) // 2}.conv" if layout == "openmmlab" else index
        state[f"basic_module.{level}.basic_module.{number}.{kind}"] = tensor
    torch.save({"params": state} if layout == "basicsr" else state, tmp_path / "spynet.pth")
    network = e2fgvi_hq(flow_weights=str(tmp_path / "spynet.pth"), blocks=1)  # whose other weights are drawn anew
    for name, tensor in network.stem.propagation.flow.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


def test_a_file_without_spynet_is_named(tmp_path):
    torch.save({"basic_module.0.basic_module.0.conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: .* is not in it, so these are no weights of SPyNet"):
        SPyNet(weights=str(tmp_path / "other.pth"))


def test_spynet_computes_in_float32_under_autocast():
    network, frames = SPyNet(**SMALL), torch.rand(1, 3, 16, 24)
    expected = network(frames, frames.flip(-1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(frames, frames.flip(-1)), expected)


@torch.inference_mode()
def test_hq_frames_are_mirrored_below_and_on_the_right_up_to_whole_windows():
    network = e2fgvi_hq(blocks=1).eval()
    frames, masks = torch.rand(1, 2, 3, 70, 150) * 2 - 1, torch.zeros(1, 2, 1, 70, 150)
    masks[..., 20:40, 130:] = 1  # to the right edge, so that the mirror image has a hole as well
    frames *= 1 - masks
    by_hand = [torch.cat((x, x.flip(-2)[..., :50, :]), dim=-2) for x in (frames, masks)]
    by_hand = [torch.cat((x, x.flip(-1)[..., :66]), dim=-1) for x in by_hand]
    expected = network(*by_hand).frames[..., :70, :150]
    torch.testing.assert_close(network(frames, masks).frames, expected, rtol=0, atol=1e-6)
