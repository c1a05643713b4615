"""Queries that begin at the centres of objects."""

import pytest
import torch
from torch import nn

from lightvid.attention.cross import Memory
from lightvid.heads import CentreQueries
from lightvid.heads.centre_queries import first_boxes, strongest_peaks

C = 12


def queries(instances=3, classes=4):
    made = CentreQueries(C, instances=instances)
    made.set_classes(classes)
    return made


def clip(batch=1, frames=3, height=4, width=5):
    return torch.randn(batch, frames, height, width, C)


def test_cells_are_peaks_by_their_strength_and_then_others():
    logits = torch.full((1, 5, 6, 2), -5.0)
    logits[0, 1, 1, 0] = 3.0
    logits[0, 1, 2, 1] = 2.9  # beside a stronger one, of another class
    logits[0, 4, 5, 1] = 1.0
    logits[0, 3, 0, 0] = 4.0
    rows, columns = strongest_peaks(logits, None, 3)[0] // 6, strongest_peaks(logits, None, 3)[0] % 6
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(3, 0), (1, 1), (4, 5)]
    # cells far from all these are level with their neighbours, so peaks, too
    assert strongest_peaks(logits, None, 29)[0].tolist().index(1 * 6 + 2) > 3


def test_padding_is_never_chosen():
    logits = torch.randn(2, 6, 8, 3)
    logits[:, 3:] += 20
    padding = torch.zeros(2, 6, 8, dtype=torch.bool)
    padding[:, 3:] = True
    padding[:, :, 5:] = True
    cells = strongest_peaks(logits, padding, 15)
    assert not padding.flatten(1).gather(1, cells).any()
    alone = strongest_peaks(logits[:, :3, :5], None, 15)
    assert torch.equal(cells, alone // 5 * 8 + alone % 5)


def test_a_map_with_fewer_cells_than_queries_repeats_them():
    assert strongest_peaks(torch.randn(2, 1, 2, 3), None, 5).shape == (2, 5)
    assert queries(instances=7)(Memory(clip(2, 3, 1, 2))).content.shape == (2, 3, 7, C)


def test_a_box_begins_around_its_cell_in_the_unpadded_clip():
    padding = torch.zeros(2, 1, 4, 6, dtype=torch.bool)
    padding[1, :, 2:] = True
    padding[1, :, :, 3:] = True
    boxes = first_boxes(Memory(clip(2, 1, 4, 6), None, padding)).sigmoid()
    torch.testing.assert_close(boxes[0, 0, 1, 2], torch.tensor([2.5 / 6, 1.5 / 4, 0.2, 0.2]))
    torch.testing.assert_close(boxes[1, 0, 1, 2], torch.tensor([2.5 / 3, 1.5 / 2, 0.2, 0.2]))


def test_an_instance_has_one_content_and_box_in_all_frames_and_a_position_for_each():
    start = queries()(Memory(clip(2, 4)))
    assert start.content.shape == start.positions.shape == (2, 4, 3, C)
    for constant in (start.content, start.boxes):
        assert torch.equal(constant[:, 0], constant[:, 3])
    assert not torch.allclose(start.positions[:, 0], start.positions[:, 3])


def test_queries_begin_at_the_strongest_cell_of_the_middle_frame():
    made, tokens = queries(instances=1), clip()
    start = made(Memory(tokens))
    scores = start.extra["centres"][0, 1].amax(-1)
    cell = divmod(scores.argmax().item(), 5)
    torch.testing.assert_close(start.boxes[0, 0, 0].sigmoid(), start.extra["centre_boxes"][0, 1][cell])
    torch.testing.assert_close(start.content[0, 0, 0], made.content(tokens[0, 1][cell]))


def test_maps_are_given_for_every_frame_and_start_at_a_probability_of_about_a_hundredth():
    extra = queries()(Memory(clip(2)))[-1]
    assert extra["centres"].shape == (2, 3, 4, 5, 4)
    assert extra["centre_boxes"].shape == (2, 3, 4, 5, 4)
    assert 0.005 < extra["centres"].sigmoid().mean() < 0.02


@pytest.mark.parametrize("kind", ["content", "positions"])
def test_what_the_decoder_learns_does_not_move_the_maps(kind):
    made, tokens = queries(), clip().requires_grad_()
    nn.init.normal_(made.boxes.weight)
    getattr(made(Memory(tokens)), kind).square().sum().backward()
    assert made.boxes.weight.grad is None
    assert made.centres.weight.grad is None
    assert (tokens.grad is not None) == (kind == "content")


def test_gradients_of_the_maps_reach_the_tokens_of_all_frames():
    made, tokens = queries(), clip().requires_grad_()
    nn.init.normal_(made.boxes.weight)
    extra = made(Memory(tokens)).extra
    (extra["centres"].square().sum() + extra["centre_boxes"].square().sum()).backward()
    assert (tokens.grad.abs().sum((0, 2, 3, 4)) > 0).all()
    assert made.hidden.weight.grad.any()
