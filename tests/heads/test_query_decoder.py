"""The query decoder: its layers, queries, references and heads."""

import logging
from functools import partial

import pytest
import torch
from torch import nn

from lightvid.attention import CrossAttention, DeformableCrossAttention
from lightvid.attention.cross import Memory, References
from lightvid.errors import ConfigurationError
from lightvid.heads import CentreQueries, InstanceQueries, LearnedQueries, QueryDecoder
from lightvid.heads.decoder_layer import DecoderLayer

C, HIDDEN = 16, 24
FULL = partial(CrossAttention, heads=2)
DEFORMABLE = partial(DeformableCrossAttention, heads=2, points=3)


def decoder(**options):
    given = {"classes": 5, "queries": partial(InstanceQueries, instances=3), "layers": 2, "cross_attention": FULL}
    return QueryDecoder(C, heads=2, hidden=HIDDEN, **given | options)


def disturbed(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def clip(batch=1, frames=3, height=4, width=5):
    return torch.randn(batch, frames, height, width, C)


@pytest.mark.parametrize("placed", [False, True])
def test_a_layer_is_pytorchs_decoder_layer(placed):
    layer = DecoderLayer(C, FULL, heads=2, hidden=HIDDEN)
    for norm in (layer.self_attention_norm, layer.cross_attention_norm, layer.feed_forward_norm):
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias)
    reference = nn.TransformerDecoderLayer(C, 2, HIDDEN, dropout=0.0, batch_first=True)
    state = {}
    for name, attention in (("self_attn", layer.self_attention), ("multihead_attn", layer.cross_attention.attention)):
        three = (attention.query, attention.key, attention.value)
        for kind in ("weight", "bias"):
            state[f"{name}.in_proj_{kind}"] = torch.cat([getattr(part, kind) for part in three])
            state[f"{name}.out_proj.{kind}"] = getattr(attention.output, kind)
    norms = (layer.self_attention_norm, layer.cross_attention_norm, layer.feed_forward_norm)
    parts = {f"norm{index}": norm for index, norm in enumerate(norms, 1)}
    parts |= {"linear1": layer.feed_forward.linear1, "linear2": layer.feed_forward.linear2}
    state |= {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}
    reference.load_state_dict(state)
    tokens, queries = clip(2), torch.randn(2, 6, C)
    result = layer(queries, torch.zeros(1, 6, C), Memory(tokens), References(torch.empty(0)))
    torch.testing.assert_close(result, reference(queries, tokens.flatten(1, 3)))


def test_positions_of_queries_are_compared_but_not_passed_on():
    layer, tokens, queries = disturbed(DecoderLayer(C, FULL, heads=2, hidden=HIDDEN)), clip(), torch.randn(1, 6, C)
    same = torch.randn(1, 1, C).expand(1, 6, C)  # one position for all: only what compares them with keys may change
    nn.init.zeros_(layer.cross_attention.attention.output.weight)
    arguments = (Memory(tokens), References(torch.empty(0)))
    nn.init.zeros_(layer.self_attention.query.weight)
    torch.testing.assert_close(layer(queries, same, *arguments), layer(queries, torch.zeros(1, 6, C), *arguments))


@pytest.mark.parametrize(
    ("cross_attention", "refine_boxes"), [(FULL, False), (FULL, True), (DEFORMABLE, False), (DEFORMABLE, True)]
)
@pytest.mark.parametrize(
    "queries", [partial(InstanceQueries, instances=3), partial(LearnedQueries, instances=3, frames=3)]
)
def test_padding_changes_nothing(cross_attention, refine_boxes, queries):
    network = disturbed(decoder(cross_attention=cross_attention, refine_boxes=refine_boxes, queries=queries))
    first, second = clip(1, 3, 4, 5), clip(1, 3, 6, 3)
    tokens, positions = clip(2, 3, 6, 5), torch.randn(2, 3, 6, 5, C)
    padding = torch.ones(2, 3, 6, 5, dtype=torch.bool)
    for index, alone in enumerate((first, second)):
        height, width = alone.shape[2:4]
        tokens[index, :, :height, :width] = alone
        padding[index, :, :height, :width] = False
    together = network(Memory(tokens, positions, padding))
    for index, alone in enumerate((first, second)):
        height, width = alone.shape[2:4]
        expected = network(Memory(alone, positions[index : index + 1, :, :height, :width]))
        for kind in ("logits", "boxes"):
            for result, wanted in zip(getattr(together, kind), getattr(expected, kind), strict=True):
                torch.testing.assert_close(result[index : index + 1], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 3, 36])
@pytest.mark.parametrize(
    "queries",
    [
        partial(LearnedQueries, instances=1, frames=4),
        partial(InstanceQueries, instances=1),
        partial(CentreQueries, instances=1),
    ],
)
def test_clips_of_any_length_give_predictions_of_every_layer(queries, frames):
    network = decoder(queries=queries, cross_attention=DEFORMABLE, refine_boxes=True)
    decoded = network(Memory(clip(2, frames)))
    assert decoded.queries.shape == (2, frames, 1, C)
    assert [tuple(logits.shape) for logits in decoded.logits] == [(2, frames, 1, 5)] * 2
    assert [tuple(boxes.shape) for boxes in decoded.boxes] == [(2, frames, 1, 4)] * 2
    assert all(((boxes > 0) & (boxes < 1)).all() for boxes in decoded.boxes)


def test_learned_queries_are_the_table_of_their_frames_and_interpolated_between(caplog):
    queries = LearnedQueries(C, instances=2, frames=3)
    start = queries(Memory(clip(2, 3)))
    assert torch.equal(start.positions[0], queries.table)
    assert not start.content.any()
    with caplog.at_level(logging.INFO, "lightvid"):
        twice = [queries(Memory(clip(1, 6))).positions for _ in range(2)][1]
    assert caplog.messages == ["queries of 3 frames interpolated to 6"]
    torch.testing.assert_close(twice[0, 2], 0.25 * queries.table[0] + 0.75 * queries.table[1])


def test_an_instances_queries_differ_in_their_position_only():
    start = InstanceQueries(C, instances=2)(Memory(clip(1, 4)))
    assert torch.equal(start.content[0, 0], start.content[0, 3])
    assert not torch.allclose(start.positions[0, 0], start.positions[0, 3])


def test_all_layers_share_their_heads_unless_boxes_are_refined():
    assert len(decoder().class_heads) == len(decoder().box_heads) == 1
    refined = decoder(refine_boxes=True)
    assert len(refined.class_heads) == len(refined.box_heads) == 2


def test_refinement_starts_at_the_reference_and_each_layer_corrects_the_one_before():
    network = decoder(refine_boxes=True, cross_attention=DEFORMABLE)
    memory = Memory(clip())
    start = network.queries(memory).positions
    expected = network.reference(start).sigmoid()
    torch.testing.assert_close(network(memory).boxes, [expected, expected])
    nn.init.constant_(network.box_heads[0].layers[2].bias, 0.5)
    first, second = network(memory).boxes
    torch.testing.assert_close(first, (network.reference(start) + 0.5).sigmoid())
    torch.testing.assert_close(second, first)


def test_a_layers_boxes_do_not_learn_from_those_that_follow():
    network = disturbed(decoder(refine_boxes=True))
    network(Memory(clip())).boxes[1].sum().backward()
    assert network.box_heads[0].layers[2].bias.grad is None
    assert network.reference.weight.grad is None


def test_classes_start_at_a_probability_of_a_hundredth():
    network = decoder()
    nn.init.zeros_(network.class_heads[0].weight)
    torch.testing.assert_close(network(Memory(clip())).logits[0].sigmoid(), torch.full((1, 3, 3, 5), 0.01))


def test_softmax_has_two_logits_more():
    assert decoder(classification="softmax")(Memory(clip())).logits[0].shape[-1] == 7


def test_offsets_keep_their_own_start():
    network, alone = decoder(cross_attention=DEFORMABLE), DEFORMABLE(C)
    for layer in network.layers:
        assert torch.equal(layer.cross_attention.sampling.query.bias, alone.sampling.query.bias)
        assert not layer.cross_attention.sampling.query.weight.any()


def test_dropout_acts_in_training_only():
    network, memory = decoder(dropout=0.5), Memory(clip())
    assert not torch.allclose(network(memory).logits[-1], network(memory).logits[-1])
    network.eval()
    assert torch.equal(network(memory).logits[-1], network(memory).logits[-1])


def test_mistakes_are_answered_in_one_line():
    with pytest.raises(ConfigurationError, match="choose one of sigmoid, softmax"):
        decoder(classification="argmax")
    with pytest.raises(ConfigurationError, match="at least one layer, got layers=0"):
        decoder(layers=0)
    with pytest.raises(ConfigurationError, match="at least 1 of instances, got 0"):
        decoder(queries=partial(InstanceQueries, instances=0))
    with pytest.raises(ConfigurationError, match=r"5 classes.* 4: set decoder.classes to null or 4"):
        decoder().set_classes(4)
    with pytest.raises(ConfigurationError, match="give classes, or call set_classes"):
        decoder(classes=None)(Memory(clip()))
