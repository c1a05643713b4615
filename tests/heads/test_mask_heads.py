"""The mask heads: their parts of frames, memory, padding, and what they know of a query."""

import pytest
import torch
from torch import nn

from lightvid.errors import ConfigurationError
from lightvid.heads import DynamicMaskHead, SequenceMaskHead, dynamic_masks
from lightvid.profiling import peak_bytes

FEATURES = [8, 12, 16]
SIZES = [(24, 40), (12, 20), (6, 10)]


def sequence_head(**options):
    return disturbed(SequenceMaskHead(128, feature_channels=FEATURES, **options))


def dynamic_head(features=FEATURES):
    return disturbed(DynamicMaskHead(24, feature_channels=features, width=16))


def disturbed(head):
    for name, parameter in head.named_parameters():
        if "norm" not in name and parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.1)
    return head


def inputs(channels, *, batch=1, frames=5, instances=2, sizes=SIZES, features=FEATURES, device=None):
    """Queries, boxes, tokens of half the coarsest map's size, and maps."""
    make = {"device": device}
    height, width = (-(-side // 2) for side in sizes[-1]) if sizes else (3, 5)
    boxes = 0.2 + 0.6 * torch.rand(batch, frames, instances, 4, **make)
    return [
        torch.randn(batch, frames, instances, channels, **make),
        boxes,
        torch.randn(batch, frames, height, width, channels, **make),
        [torch.randn(batch * frames, c, *size, **make) for c, size in zip(features, sizes, strict=True)],
    ]


def result_and_gradients(head, given):
    queries, boxes, tokens, features = given
    leaves = [queries.requires_grad_(), tokens.requires_grad_(), *[f.requires_grad_() for f in features]]
    masks = head(queries, boxes, tokens, features, None)
    return masks, torch.autograd.grad(masks.square().sum(), [*leaves, *head.parameters()])


@pytest.mark.parametrize("frames", [1, 3, 36])
@pytest.mark.parametrize(("make", "channels"), [(sequence_head, 128), (dynamic_head, 24)])
def test_masks_are_of_the_finest_maps_size_at_any_length(make, channels, frames):
    masks = make()(*inputs(channels, batch=2, frames=frames, instances=1), None)
    assert masks.shape == (2, frames, 1, 24, 40)
    assert masks.isfinite().all()


@pytest.mark.parametrize("chunk", [1, 2])
def test_frames_in_parts_give_what_all_at_once_give(chunk):
    whole, parts = sequence_head(chunk=5), sequence_head(chunk=chunk)
    parts.load_state_dict(whole.state_dict())
    queries, boxes, tokens, features = inputs(128)
    given = [queries.double(), boxes, tokens.double(), [f.double() for f in features]]
    torch.testing.assert_close(
        result_and_gradients(parts.double(), given), result_and_gradients(whole.double(), given), rtol=1e-5, atol=1e-6
    )


def test_frames_of_dynamic_masks_in_parts_give_what_all_at_once_give(monkeypatch):
    head, given = dynamic_head(), inputs(24)
    whole = result_and_gradients(head, given)
    monkeypatch.setattr(dynamic_masks, "ELEMENTS_AT_ONCE", 1)
    torch.testing.assert_close(result_and_gradients(head, given), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("make", "channels"), [(sequence_head, 128), (dynamic_head, 24)])
def test_inference_gives_what_training_gives(make, channels):
    head, given = make(), inputs(channels)
    with torch.no_grad():
        masks = head(*given, None)
    torch.testing.assert_close(masks, head(*given, None))


@pytest.mark.parametrize(("make", "channels"), [(sequence_head, 128), (dynamic_head, 24)])
def test_gradients_reach_all_parameters_queries_tokens_and_maps(make, channels):
    gradients = result_and_gradients(make(), inputs(channels))[1]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(not gradient.any() for gradient in gradients) == 0


@pytest.mark.parametrize(("make", "channels"), [(sequence_head, 128), (dynamic_head, 24)])
def test_clips_and_instances_do_not_see_each_other(make, channels):
    head = make()
    queries, boxes, tokens, features = inputs(channels, batch=2)
    together = head(queries, boxes, tokens, features, None)
    second = [f[5:] for f in features]
    alone = head(queries[1:, :, 1:], boxes[1:, :, 1:], tokens[1:], second, None)
    torch.testing.assert_close(together[1:, :, 1:], alone, rtol=1e-4, atol=1e-4)


def pointwise(head):
    """The head with convolutions that see one cell, and without normalisation over the map."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            centre = torch.zeros_like(layer.weight)
            centre[(..., *(side // 2 for side in layer.weight.shape[2:]))] = 1
            layer.weight.data *= centre
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    head.deformable.data *= centre
    nn.init.zeros_(head.offset.weight)
    head.norms = nn.ModuleList(nn.Identity() for _ in head.norms)
    for index in (1, 4, 7):
        head.sequence[index] = nn.Identity()
    return head


def padded(given, sizes, rows, columns):
    """The same clip in larger maps, with other numbers in the padding."""
    queries, boxes, tokens, features = given
    _, _, larger, maps = inputs(tokens.shape[-1], frames=tokens.shape[1], sizes=sizes, features=FEATURES[: len(sizes)])
    larger = torch.randn(1, tokens.shape[1], rows, columns, tokens.shape[-1])
    larger[:, :, : tokens.shape[2], : tokens.shape[3]] = tokens
    for big, small in zip(maps, features, strict=True):
        big[..., : small.shape[2], : small.shape[3]] = small
    padding = torch.ones(larger.shape[:-1], dtype=torch.bool)
    padding[:, :, : tokens.shape[2], : tokens.shape[3]] = False
    return [queries, boxes, larger, maps], padding


def test_attention_maps_do_not_see_the_padding():
    head, given = pointwise(sequence_head()), inputs(128, sizes=[(16, 32), (8, 16), (4, 8)])
    alone = head(*given, None)
    larger, padding = padded(given, [(24, 40), (12, 20), (6, 10)], 3, 5)
    torch.testing.assert_close(head(*larger, padding)[..., :16, :32], alone, rtol=1e-4, atol=1e-4)


def test_places_relative_to_a_box_do_not_change_with_padding():
    head, given = dynamic_head([]), inputs(24, sizes=[], features=[])
    tokens = given[2]
    alone = head(*given, None)
    larger, padding = padded(given, [], tokens.shape[2] + 2, tokens.shape[3] + 3)
    result = head(*larger, padding)
    torch.testing.assert_close(result[..., : tokens.shape[2], : tokens.shape[3]], alone, rtol=1e-4, atol=1e-4)


def test_dynamic_masks_know_where_a_pixel_is_in_the_querys_box():
    """A query that writes `max(x + 1, 0)` gives 0 left of its box, and 1 in the middle of it."""
    head = DynamicMaskHead(24, feature_channels=[], width=16)
    d = head.dynamic_channels
    w1, w2 = torch.zeros(d, d + 2), torch.zeros(d, d)
    w1[0, d] = w2[0, 0] = 1
    first = torch.eye(d)[0]
    nn.init.zeros_(head.controller.weight)
    head.controller.bias.data = torch.cat([w1.flatten(), first, w2.flatten(), 0 * first, first, torch.zeros(1)])
    boxes = torch.tensor([0.5, 0.5, 0.5, 0.2]).view(1, 1, 1, 4)
    masks = head(torch.zeros(1, 1, 1, 24), boxes, torch.zeros(1, 1, 2, 8, 24), [], None)
    expected = torch.tensor([0, 0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75])
    torch.testing.assert_close(masks[0, 0, 0], expected.expand(2, 8))


def test_boxes_do_not_learn_from_dynamic_masks():
    queries, boxes, tokens, features = inputs(24)
    dynamic_head()(queries.requires_grad_(), boxes.requires_grad_(), tokens, features, None).sum().backward()
    assert boxes.grad is None


def peak(instances, *, chunk=2, frames=12, sizes=((32, 48), (16, 24), (8, 12))):
    with torch.device("meta"):
        head = SequenceMaskHead(128, feature_channels=FEATURES, chunk=chunk)
        given = inputs(128, frames=frames, instances=instances, sizes=sizes)
    with torch.no_grad():
        return peak_bytes(lambda: head(*given, None))


def test_an_instance_more_costs_its_masks_and_attention_maps_only():
    masks, attention = 12 * 32 * 48 * 4, 12 * 8 * 4 * 6 * 4
    assert peak(4) - peak(2) <= 2 * (masks + 3 * attention)


def test_frames_in_parts_save_memory():
    assert peak(1) <= 0.8 * peak(1, chunk=12)


@pytest.mark.parametrize(("channels", "heads"), [(96, 8), (128, 4)])
def test_widths_that_do_not_split_into_groups_are_refused_in_one_line(channels, heads):
    with pytest.raises(ConfigurationError, match=f"got {channels} channels and {heads} heads, give multiples of 128"):
        SequenceMaskHead(channels, feature_channels=FEATURES, heads=heads)
