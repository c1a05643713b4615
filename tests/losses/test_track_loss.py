"""What training with `TrackLoss` relies on."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightvid.annotations.rle import decode
from lightvid.annotations.targets import InstanceTargets
from lightvid.errors import ConfigurationError
from lightvid.losses import Assignment, TrackLoss, TrackMatcher
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction
from lightvid.profiling import peak_bytes, saved_bytes
from lightvid.segmentation import VideoSegmenter
from lightvid.segmentation.masks import encode_masks


def perfect(target, *, logits=5, confidence=20.0):
    """What answers exactly the target, one instance per track in reverse order, and one instance more."""
    order = list(reversed(range(len(target.classes))))
    scores = F.one_hot(target.classes, logits)[:, None] * target.visible[..., None]
    boxes, masks = target.boxes.where(target.visible[..., None], 0.5), F.max_pool2d(target.masks.float(), 4)

    def rows(x, rest):
        return torch.cat([x[order], torch.full_like(x[:1], rest)]).transpose(0, 1)[None]

    return InstanceOutput(
        rows((2 * scores - 1) * confidence, -confidence),
        rows(boxes, 0.5),
        rows((2 * masks - 1) * confidence, -confidence),
    )


def blocks(visible):
    """Two tracks whose masks fill whole cells of 4 x 4 pixels, in a frame of 8 x 16."""
    masks = torch.zeros(2, 2, 8, 16, dtype=torch.bool)
    masks[0, :, :4, :8] = True
    masks[1, :, 4:, 8:] = True
    boxes = torch.tensor([[0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])[:, None].repeat(1, 2, 1)
    seen = torch.tensor(visible)
    return InstanceTargets(torch.tensor([3, 1]), boxes * seen[..., None], seen, masks & seen[..., None, None])


def test_the_exact_answer_costs_nothing_and_wrong_class_costs():
    target = blocks([[True, True], [True, False]])
    losses = TrackLoss()(perfect(target), [target])
    assert all(value < 1e-4 for value in losses.values()), losses
    wrong = target._replace(classes=torch.tensor([2, 1]))
    losses = TrackLoss()(perfect(target), [wrong])
    assert losses["class_error"] == pytest.approx(2 / 3)
    assert losses["class"] > 1
    assert losses["box"] < 1e-4


def test_all_losses_of_one_frame_by_hand():
    # one frame, two instances, two classes, all probabilities 1/2; the second instance learns class 1
    output = InstanceOutput(
        torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.5] * 4, [0.2] * 4]]]), torch.zeros(1, 1, 2, 1, 1)
    )
    box = torch.tensor([[[0.3, 0.2, 0.2, 0.2]]])
    target = InstanceTargets(torch.tensor([1]), box, torch.ones(1, 1).bool(), torch.ones(1, 1, 4, 4).bool())
    losses = TrackLoss()(output, [target])
    assert losses["class"].item() == pytest.approx((0.25 + 3 * 0.75) * 0.25 * math.log(2))
    assert losses["box"].item() == pytest.approx(0.1)
    assert losses["giou"].item() == pytest.approx(1 - 1 / 3, abs=1e-4)  # 0.02 shared of 0.06, which fill the hull
    assert losses["mask"].item() == pytest.approx(math.log(2))
    assert losses["dice"].item() == pytest.approx(1 - (2 * 0.5 + 1) / (0.5 + 1 + 1))


def test_frames_where_the_track_is_not_visible_teach_no_box_but_an_empty_mask_and_no_class():
    target = blocks([[True, False], [True, True]])
    output = perfect(target)  # instance 1 is track 0
    leaves = [part.requires_grad_() for part in (output.logits, output.boxes, output.masks)]
    TrackLoss().total(TrackLoss()(InstanceOutput(*(0.5 * leaf for leaf in leaves)), [target])).backward()
    logits, boxes, masks = (leaf.grad[0, 1, 1] for leaf in leaves)
    assert (boxes == 0).all()
    assert (masks > 0).all()
    assert (logits > 0).all()
    for leaf in leaves:
        leaf.grad = None
    loss = TrackLoss(empty_masks=False)
    loss.total(loss(InstanceOutput(*(0.5 * leaf for leaf in leaves)), [target])).backward()
    assert (leaves[2].grad[0, 1, 1] == 0).all()


def test_matching_looks_only_at_frames_where_the_track_is_visible():
    target = blocks([[True, False], [True, True]])
    output = perfect(target)  # instance 1 is track 0
    output.boxes[0, 1, 1] = 0.9
    # the spare instance is a little off where track 0 is visible, and nearest to its empty box where it is not
    output.boxes[0, :, 2] = target.boxes[0] + 0.01
    layer = InstancePrediction(output.logits, output.boxes)
    ((assigned,),) = TrackMatcher(class_cost=0.0)([layer], output.masks, [target])
    assert dict(zip(assigned.instances.tolist(), assigned.tracks.tolist(), strict=True)) == {0: 1, 1: 0}


def test_matching_weighs_class_and_box_by_their_costs():
    # one frame; the first instance is surer of the class, the second exactly at the place
    box, frame = torch.full((1, 1, 4), 0.5), torch.ones(1, 1, 4, 4).bool()
    target = InstanceTargets(torch.tensor([0]), box, torch.ones(1, 1).bool(), frame)
    logits = torch.tensor([0.9, 0.5]).logit().view(1, 1, 2, 1)

    def matched(side):
        boxes = torch.tensor([[[[0.5, 0.5, side, side], [0.5] * 4]]])
        ((assigned,),) = TrackMatcher()([InstancePrediction(logits, boxes)], torch.zeros(1, 1, 2, 1, 1), [target])
        return assigned.instances.item()

    # class: 2 * (1.3985 - 0.0866) = 2.62; a side of 0.35 loses 5 * 0.3 + 2 * (1 - 0.49) = 2.52, one of 0.335 2.75
    assert matched(0.35) == 0
    assert matched(0.335) == 1


@pytest.mark.parametrize("points", [5, 12544])
def test_masks_alone_can_match(points):
    target = blocks([[True, True], [True, True]])
    output = perfect(target)
    matcher = TrackMatcher(class_cost=0.0, box_cost=0.0, giou_cost=0.0, dice_cost=1.0, mask_points=points)
    layer = InstancePrediction(output.logits, output.boxes)
    earlier, last = matcher([layer, layer], output.masks, [target])
    assert dict(zip(last[0].instances.tolist(), last[0].tracks.tolist(), strict=True)) == {0: 1, 1: 0}
    assert len(earlier[0].tracks) == 2


def test_masks_do_not_match_where_the_track_is_not_visible():
    target = blocks([[False, True], [True, True]])
    output = perfect(target)  # instance 1 is track 0
    output.masks[0, 0, 1] = 20.0
    output.masks[0, 1, 2, 0, 0] = 20.0  # the spare instance has half of track 0, and nothing where it is not visible
    matcher = TrackMatcher(class_cost=0.0, box_cost=0.0, giou_cost=0.0, dice_cost=1.0)
    ((assigned,),) = matcher([InstancePrediction(output.logits, output.boxes)], output.masks, [target])
    assert dict(zip(assigned.instances.tolist(), assigned.tracks.tolist(), strict=True)) == {0: 1, 1: 0}


def test_every_layer_is_matched_for_itself(random_output, random_targets):
    output, target = random_output(1), random_targets(2)
    losses = TrackLoss()(output, [target])
    swapped = InstanceOutput(*output.auxiliary[0], output.masks, [InstancePrediction(output.logits, output.boxes)])
    answer = TrackLoss()(swapped, [target])
    for key in ("class", "box", "giou"):
        assert torch.equal(losses[f"{key}_0"], answer[key])
        assert torch.equal(losses[key], answer[f"{key}_0"])
    assert set(losses) == {"class", "box", "giou", "mask", "dice", "class_error", "class_0", "box_0", "giou_0"}


def test_the_total_weighs_every_loss_and_leaves_out_the_class_error():
    loss = TrackLoss(class_weight=2.0, box_weight=3.0, giou_weight=0.0, mask_weight=1.0, dice_weight=10.0)
    losses = {"class": 1.0, "box": 1.0, "giou": 50.0, "mask": 1.0, "dice": 1.0, "box_4": 2.0, "class_error": 70.0}
    assert loss.total({key: torch.tensor(value) for key, value in losses.items()}) == 2 + 3 + 1 + 10 + 6


def test_groups_of_queries_whose_tracks_are_known_may_share_them():
    target = blocks([[True, True], [True, True]])
    output = perfect(target)
    twice = InstancePrediction(output.logits[:, :, [0, 1, 1]], output.boxes[:, :, [0, 1, 1]])
    known = Assignment(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0]))
    losses = TrackLoss().prediction_losses(twice, [target], [known], torch.tensor(6.0))
    assert set(losses) == {"class", "box", "giou"}
    assert all(value < 1e-4 for value in losses.values())
    crossed = Assignment(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 1]))
    losses = TrackLoss().prediction_losses(twice, [target], [crossed], torch.tensor(6.0))
    assert losses["box"].item() == pytest.approx(2 / 6)  # |0.25 - 0.75| in x and y, two of six boxes


def test_boxes_are_counted_over_all_processes(monkeypatch, random_targets):
    targets = [random_targets(3)]
    here = targets[0].visible.sum().item()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count: count.add_(30))
    assert TrackLoss().normaliser(targets) == (here + 30) / 4
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda count: count)
    assert TrackLoss().normaliser([random_targets(1, frames=1)]) == 1


def test_unknown_choices_are_refused():
    with pytest.raises(ConfigurationError, match="mask_loss='dice': expected bce or focal"):
        TrackLoss(mask_loss="dice")
    with pytest.raises(ConfigurationError, match="expected prediction or target"):
        TrackLoss(mask_resolution="full")


@pytest.mark.parametrize("size", [(16, 24), (18, 21), (13, 31)])
def test_masks_at_the_targets_resolution_lie_where_the_segmenter_reads_them(size):
    height, width = size
    logits = torch.randn(1, -(-height // 4), -(-width // 4), generator=torch.Generator().manual_seed(0))
    segmenter = VideoSegmenter(nn.Identity(), frames=1, category_ids=[1], shortest=height)
    (found,) = encode_masks(logits, size, 0.0, extent=segmenter._extent(height, width))
    truth = torch.from_numpy(decode(found, height, width, "mask")).bool()[None, None]
    box, seen = torch.full((1, 1, 4), 0.5), torch.ones(1, 1).bool()
    masks = (1e4 * logits)[None, None]  # so steep that every pixel is one or the other
    output = InstanceOutput(torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 4), 0.5), masks)
    losses = TrackLoss(mask_resolution="target")(output, [InstanceTargets(torch.tensor([1]), box, seen, truth)])
    assert losses["mask"] < 1e-3
    assert losses["dice"] < 1e-3


@pytest.mark.parametrize("resolution", ["prediction", "target"])
def test_memory_of_the_masks_does_not_grow_with_the_tracks(resolution, random_output, random_targets):
    frames, height, width = 4, 64, 96
    pixels = frames * height * width

    def measure(tracks):
        size = {"frames": frames, "height": height, "width": width}
        output, target = random_output(1, instances=8, **size), random_targets(tracks, **size)
        loss, given = (
            TrackLoss(mask_resolution=resolution),
            [output.logits, output.boxes, output.masks, *output.auxiliary[0], *target],
        )
        saved = saved_bytes(lambda: loss(output, [target]), exclude=given)
        return saved, peak_bytes(lambda: loss.total(loss(output, [target])).backward())

    (_, few_peak), (many, many_peak) = measure(1), measure(8)
    assert many < pixels * 4, "less than one plane of one track"
    assert many_peak - few_peak < 7 * pixels, "not even a byte per pixel of a further track"
