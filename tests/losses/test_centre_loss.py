"""The loss of maps of objects' centres."""

import pytest
import torch

from lightvid.annotations import InstanceTargets
from lightvid.losses import CentreLoss
from lightvid.networks import InstanceOutput

FRAMES, ROWS, COLUMNS, CLASSES = 2, 6, 8, 3


def targets(boxes, classes, visible=None):
    """Boxes `(G, 4)`, the same in both frames."""
    boxes = torch.tensor(boxes).view(-1, 1, 4).repeat(1, FRAMES, 1)
    visible = torch.ones(len(boxes), FRAMES, dtype=torch.bool) if visible is None else torch.tensor(visible)
    masks = torch.zeros(len(boxes), FRAMES, 4, 4, dtype=torch.bool)
    return InstanceTargets(torch.tensor(classes, dtype=torch.long), boxes * visible[..., None], visible, masks)


def output(logit=-8.0, box=(0.5, 0.5, 0.2, 0.2), clips=1):
    centres = torch.full((clips, FRAMES, ROWS, COLUMNS, CLASSES), logit).requires_grad_()
    boxes = torch.tensor(box).repeat(clips, FRAMES, ROWS, COLUMNS, 1).requires_grad_()
    extra = {"centres": centres, "centre_boxes": boxes}
    empty = torch.empty(clips, FRAMES, 0, 1)
    return InstanceOutput(empty, empty, empty, extra=extra), centres, boxes


def raised(loss, given, target, **options):
    """Where a higher logit lowers the loss, as `(clip, frame, row, column, class)`."""
    result, centres, _ = given
    losses = loss(result, target, **options)
    losses["centre"].backward()
    return {tuple(cell) for cell in (centres.grad < -1e-3).nonzero().tolist()}


SMALL, SMALL_CELL = [0.44, 0.42, 0.2, 0.2], (2, 3)  # 0.42 * 6 = 2.5, 0.44 * 8 = 3.5


def test_the_cell_of_a_centre_is_raised_in_the_map_of_its_class():
    target = targets([SMALL], [1])
    assert raised(CentreLoss(), output(), [target]) == {(0, t, *SMALL_CELL, 1) for t in range(FRAMES)}


def test_frames_in_which_an_instance_is_not_visible_are_background():
    target = targets([SMALL], [1], [[False, True]])
    assert raised(CentreLoss(), output(), [target]) == {(0, 1, *SMALL_CELL, 1)}


def test_boxes_count_in_the_part_without_padding():
    target = targets([[0.9, 0.9, 0.2, 0.2]], [0])  # 0.9 of the first 3 rows and 4 columns
    padded = output()
    padded[0].extra["centre_part"] = torch.tensor([[0.5, 0.5]])
    assert raised(CentreLoss(), padded, [target]) == {(0, t, 2, 3, 0) for t in range(FRAMES)}


def test_less_is_demanded_of_cells_near_a_centre():
    result, centres, _ = output(logit=0.0)
    CentreLoss()(result, [targets([[0.5, 0.5, 0.9, 0.9]], [2])])["centre"].backward()
    gradient = centres.grad[0, 0, :, :, 2]
    assert 0 < gradient[3, 5] < 0.5 * gradient[0, 0]
    torch.testing.assert_close(gradient[0, 0], centres.grad[0, 0, 0, 0, 0], rtol=1e-2, atol=0)


def test_right_maps_and_boxes_cost_next_to_nothing():
    result, centres, _ = output(box=SMALL)
    with torch.no_grad():
        centres[0, :, SMALL_CELL[0], SMALL_CELL[1], 1] = 8.0
    losses = CentreLoss()(result, [targets([SMALL], [1])])
    assert all(loss < 1e-3 for loss in losses.values())


def test_boxes_learn_near_centres_only_and_from_the_nearest_instance():
    result, _, boxes = output()
    first, second = [0.2, 0.5, 0.3, 0.4], [0.8, 0.5, 0.3, 0.4]
    losses = CentreLoss()(result, [targets([first, second], [0, 0])])
    losses["centre_box"].backward()
    learned = boxes.grad[0, 0].abs().sum(-1) > 0
    assert learned[3, 1]
    assert learned[3, 6]
    assert not learned[0].any()
    assert boxes.grad[0, 0, 3, 1, 0] > 0  # its centre is too far right
    assert boxes.grad[0, 0, 3, 6, 0] < 0


def test_a_mean_is_independent_of_how_many_clips_hold_the_same():
    target = targets([SMALL], [1])
    one, two = CentreLoss()(output()[0], [target]), CentreLoss()(output(clips=2)[0], [target] * 2)
    for name, loss in one.items():
        torch.testing.assert_close(two[name], loss)


def test_a_clip_without_instances_is_background():
    result, centres, _ = output(logit=0.0)
    losses = CentreLoss()(result, [targets([], [])])
    assert losses["centre_box"] == losses["centre_giou"] == 0
    CentreLoss().total(losses).backward()
    assert (centres.grad > 0).all()


def test_the_total_weighs_each_loss():
    result, *_ = output()
    loss = CentreLoss(centre_weight=2.0, box_weight=3.0, giou_weight=0.5)
    losses = loss(result, [targets([SMALL], [1])])
    assert set(losses) == {"centre", "centre_box", "centre_giou"}
    expected = 2 * losses["centre"] + 3 * losses["centre_box"] + 0.5 * losses["centre_giou"]
    assert loss.total(losses).item() == pytest.approx(expected.item())
