"""VisTR's criterion: the recorded one, and which frames each instance learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lightvid.annotations.targets import InstanceTargets
from lightvid.losses import VisTRLoss
from lightvid.losses.instance_masks import dice_loss, mean_over_pixels, sigmoid_focal_loss
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction
from lightvid.profiling import peak_bytes, saved_bytes

ORACLES = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracles"
PUBLISHED = {"class": "loss_ce", "box": "loss_bbox", "giou": "loss_giou", "mask": "loss_mask", "dice": "loss_dice"}


def recorded_tracks():
    """Three tracks of 36 frames whose boxes drift, absent every few frames."""
    frames, height, width = 36, 96, 160
    visible = torch.tensor([[(t + 5 * i) % (6 + i) != 0 for t in range(frames)] for i in range(3)])
    boxes, masks = torch.zeros(3, frames, 4), torch.zeros(3, frames, height, width, dtype=torch.bool)
    for i, t in visible.nonzero().tolist():
        x, y, w, h = 0.2 + 0.25 * i + 0.004 * t, 0.3 + 0.2 * i + 0.003 * t, 0.3, 0.2 + 0.02 * i
        boxes[i, t] = torch.tensor([x, y, w, h])
        left, right = int((x - w / 2) * width), int((x + w / 2) * width)
        masks[i, t, int((y - h / 2) * height) : int((y + h / 2) * height), left:right] = True
    return InstanceTargets(torch.tensor([7, 12, 1]) - 1, boxes, visible, masks)


def test_the_published_criterion_gives_the_recorded_losses():
    if not (ORACLES / "vistr_r50_96x160.npz").exists():
        pytest.skip("the recorded outputs are not beside the repository")
    arrays = np.load(ORACLES / "vistr_r50_96x160.npz")
    logits, boxes, masks = (torch.from_numpy(arrays[f"pred_{part}"]) for part in ("logits", "boxes", "masks"))
    output = InstanceOutput(logits.unflatten(1, (36, 10)), boxes.unflatten(1, (36, 10)), masks.unflatten(1, (36, 10)))
    recorded = json.loads((ORACLES / "vistr_r50_96x160.json").read_text())["losses"]
    losses = VisTRLoss(published_visibility=True)(output, [recorded_tracks()])
    for key, published in PUBLISHED.items():
        assert losses[key].item() == pytest.approx(recorded[published], rel=1e-5), key
    assert 100 * losses["class_error"].item() == pytest.approx(recorded["class_error"])
    corrected = VisTRLoss()(output, [recorded_tracks()])
    assert abs(corrected["box"].item() - recorded["loss_bbox"]) > 0.01


def crosswise():
    """Instance 0 answers target 1 and instance 1 target 0; target 1 is visible in the first of two frames only."""
    boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2]] * 2, [[0.8, 0.8, 0.2, 0.2], [0.0, 0.0, 0.0, 0.0]]])
    visible = torch.tensor([[True, True], [True, False]])
    masks = visible[..., None, None].expand(2, 2, 4, 4)
    predicted = torch.tensor([[0.8, 0.8, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.9, 0.9]]) + 0.01
    output = InstanceOutput(
        torch.zeros(1, 2, 3, 5, requires_grad=True),
        predicted.repeat(1, 2, 1, 1).requires_grad_(),
        torch.zeros(1, 2, 3, 1, 1, requires_grad=True),
    )
    return output, InstanceTargets(torch.tensor([2, 1]), boxes, visible, masks)


def taught_frames(loss):
    """The (frame, instance) pairs whose boxes, and those whose masks, get a gradient; the class that each learns."""
    output, target = crosswise()
    loss.total(loss(output, [target])).backward()
    boxes = {tuple(pair) for pair in (output.boxes.grad[0] != 0).any(-1).nonzero().tolist()}
    masks = {tuple(pair) for pair in (output.masks.grad[0] != 0).flatten(2).any(-1).nonzero().tolist()}
    assert boxes == masks
    return boxes, output.logits.grad[0].argmin(-1).tolist()


def test_each_instance_learns_in_the_frames_where_its_own_track_is_visible():
    boxes, classes = taught_frames(VisTRLoss())
    assert boxes == {(0, 0), (0, 1), (1, 1)}
    # target 1 is of class 1, index 2; target 0 of class 2, index 3; "no object" is 4
    assert classes == [[2, 3, 4], [4, 3, 4]]


def test_the_published_criterion_takes_the_frames_of_another_track():
    boxes, classes = taught_frames(VisTRLoss(published_visibility=True))
    assert boxes == {(0, 0), (1, 0), (0, 1)}
    assert classes == [[2, 3, 4], [0, 4, 4]]


def test_no_object_counts_a_tenth_in_the_cross_entropy():
    logits = torch.zeros(1, 1, 2, 3)
    logits[..., 0] = 1.0
    output = InstanceOutput(logits, torch.full((1, 1, 2, 4), 0.5), torch.zeros(1, 1, 2, 1, 1))
    target = InstanceTargets(
        torch.tensor([0]), torch.full((1, 1, 4), 0.5), torch.ones(1, 1).bool(), torch.ones(1, 1, 4, 4).bool()
    )
    # both cost log(e + 2), whatever the weights; with the first of them sure of its class only the other costs
    assert VisTRLoss()(output, [target])["class"].item() == pytest.approx(np.log(np.e + 2), rel=1e-5)
    output.logits[0, 0, 0, 1] = 50.0
    assert VisTRLoss()(output, [target])["class"].item() == pytest.approx(0.1 / 1.1 * np.log(np.e + 2), rel=1e-5)


def test_sums_are_divided_by_all_frames_of_all_tracks():
    output, target = crosswise()
    # three visible boxes, each off by 0.01 in four numbers; two tracks of two frames
    assert VisTRLoss()(output, [target])["box"].item() == pytest.approx(3 * 4 * 0.01 / 4, rel=1e-3)


def test_matching_weighs_class_box_and_overlap_as_published():
    # one frame; the first instance is sure of the class, the second is exactly at the place
    target = InstanceTargets(
        torch.tensor([0]), torch.full((1, 1, 4), 0.5), torch.ones(1, 1).bool(), torch.ones(1, 1, 4, 4).bool()
    )
    logits = torch.zeros(1, 1, 2, 3)
    logits[0, 0, 0, 1], logits[0, 0, 1, 0] = 50.0, 50.0

    def matched(size):
        boxes = torch.tensor([[[[0.5, 0.5, size, size], [0.5] * 4]]])
        layer = InstancePrediction(logits, boxes)
        ((assigned,),) = VisTRLoss().match([layer], torch.zeros(1, 1, 2, 1, 1), [target], None)
        return assigned.instances.item()

    # class: 1; a side of 0.4 loses 2 * (1 - 0.64) + 5 * 0.05 = 0.97, one of 0.39 2 * (1 - 0.6084) + 5 * 0.055 = 1.06
    assert matched(0.4) == 0
    assert matched(0.39) == 1


def test_masks_are_stretched_to_end_with_the_frame():
    # 5 columns, 2 cells: stretched, they meet in the middle of the third column, which is undecided
    truth = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
    truth[..., 3:] = True
    target = InstanceTargets(torch.tensor([0]), torch.full((1, 1, 4), 0.5), torch.ones(1, 1).bool(), truth)
    masks = torch.tensor([-100.0, 100.0]).view(1, 1, 1, 1, 2)
    losses = VisTRLoss()(InstanceOutput(torch.zeros(1, 1, 1, 3), torch.full((1, 1, 1, 4), 0.5), masks), [target])
    # of 4 rows: 2 columns are hit, 2.5 predicted, 2 annotated
    assert losses["dice"].item() == pytest.approx(1 - (2 * 8 + 1) / (10 + 8 + 1), abs=1e-4)


def test_memory_of_the_masks_does_not_grow_with_the_tracks(random_output, random_targets):
    frames, height, width = 4, 64, 96
    pixels = frames * height * width

    def measure(tracks):
        size = {"frames": frames, "height": height, "width": width}
        output, target = random_output(1, instances=8, logits=7, **size), random_targets(tracks, **size)
        loss, given = VisTRLoss(), [output.logits, output.boxes, output.masks, *output.auxiliary[0], *target]
        saved = saved_bytes(lambda: loss(output, [target]), exclude=given)
        return saved, peak_bytes(lambda: loss.total(loss(output, [target])).backward())

    (_, few_peak), (many, many_peak) = measure(1), measure(8)
    assert many < pixels * 4, "less than one plane of one track; the eight tracks' planes would be 32 times that"
    assert many_peak - few_peak < 7 * pixels, "not even a byte per pixel of a further track"


def test_losses_and_gradients_of_the_masks_are_those_of_all_tracks_at_once(random_output, random_targets):
    output, targets = (
        random_output(2, height=18, logits=7),
        [random_targets(2, height=18), random_targets(3, height=18)],
    )
    padding = torch.zeros(2, 3, 18, 24, dtype=torch.bool)
    padding[1, ..., 20:] = True
    loss = VisTRLoss()
    assignments = loss.match([InstancePrediction(output.logits, output.boxes)], output.masks, targets, padding)[0]
    losses = loss.mask_losses(output.masks, targets, assignments, padding, torch.tensor(1.0))
    (losses["mask"] + losses["dice"]).backward()
    ours, output.masks.grad = output.masks.grad, None
    mask = dice = 0
    for clip, (target, assigned) in enumerate(zip(targets, assignments, strict=True)):
        large = F.interpolate(output.masks[clip, :, assigned.instances], (18, 24), mode="bilinear").transpose(0, 1)
        truth, valid = target.masks[assigned.tracks].float(), (~padding[clip]).float()
        visible = target.visible[assigned.tracks].float()
        mask += (mean_over_pixels(sigmoid_focal_loss(large, truth), valid) * visible).sum()
        dice += (dice_loss(large, truth, valid) * visible).sum()
    (mask + dice).backward()
    torch.testing.assert_close((losses["mask"], losses["dice"]), (mask, dice))
    torch.testing.assert_close(ours, output.masks.grad)
