"""Overlaps of boxes that can be worked out by hand."""

import torch

from lightvid.losses.boxes import generalised_iou, iou, to_corners

LEFT = torch.tensor([0.25, 0.5, 0.5, 1.0])  # the left half of the frame
TOP = torch.tensor([0.5, 0.25, 1.0, 0.5])  # the upper half
CORNER = torch.tensor([0.875, 0.875, 0.25, 0.25])  # the lower right sixteenth


def test_corners_of_a_box():
    assert torch.equal(to_corners(CORNER), torch.tensor([0.75, 0.75, 1.0, 1.0]))


def test_iou_of_two_halves_that_share_a_quarter_is_a_third():
    assert torch.isclose(iou(LEFT, TOP), torch.tensor(1 / 3), atol=1e-5)


def test_generalised_iou_takes_off_the_empty_share_of_the_box_around_both():
    # both halves: the box around them is the frame, of which a quarter is empty
    assert torch.isclose(generalised_iou(LEFT, TOP), torch.tensor(1 / 3 - 1 / 4), atol=1e-5)
    # apart: no intersection, and the frame less 1/2 and 1/16 is empty
    assert torch.isclose(generalised_iou(LEFT, CORNER), torch.tensor(-7 / 16), atol=1e-5)


def test_a_box_overlaps_itself_wholly_even_without_area():
    for box in (LEFT, torch.zeros(4)):
        assert torch.isclose(iou(box, box), torch.tensor(1.0))
        assert torch.isclose(generalised_iou(box, box), torch.tensor(1.0) - (0 if box.any() else 1), atol=1e-5)


def test_every_box_with_every_other_by_broadcasting():
    boxes = torch.stack([LEFT, TOP, CORNER])
    pairwise = generalised_iou(boxes[:, None], boxes[None])
    assert pairwise.shape == (3, 3)
    assert torch.equal(pairwise[1, 2], generalised_iou(TOP, CORNER))
    assert torch.equal(pairwise, pairwise.T)


def test_the_gradient_of_a_box_that_misses_its_target_pulls_it_there():
    box = CORNER.clone().requires_grad_()
    (1 - generalised_iou(box, LEFT)).backward()
    assert box.grad is not None
    assert box.grad[0] > 0  # a step against the gradient moves it left
