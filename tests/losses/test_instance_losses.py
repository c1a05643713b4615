"""What training relies on with either loss of instances."""

import pytest
import torch
from torch.nn import functional as F

from lightvid.annotations.targets import InstanceTargets
from lightvid.errors import ConfigurationError
from lightvid.losses import InstanceLoss, TrackLoss, TrackMatcher, VisTRLoss
from lightvid.networks.instance_output import InstanceOutput, InstancePrediction

VARIANTS = [
    TrackLoss(),
    TrackLoss(mask_loss="focal", empty_masks=False, mask_resolution="target"),
    TrackLoss(matcher=TrackMatcher(dice_cost=2.0)),
    VisTRLoss(),
]


def name(loss):
    return f"{type(loss).__name__}-{getattr(loss, 'mask_loss', '')}"


def clip_of(output, clip):
    return InstanceOutput(
        output.logits[clip : clip + 1],
        output.boxes[clip : clip + 1],
        output.masks[clip : clip + 1],
        [InstancePrediction(*(part[clip : clip + 1] for part in layer)) for layer in output.auxiliary],
    )


@pytest.mark.parametrize("loss", VARIANTS, ids=name)
def test_a_batch_of_two_is_both_clips_weighted_by_their_boxes(loss, random_output, random_targets):
    output = random_output(2, logits=7)
    targets = [random_targets(2, seed=3), random_targets(3, seed=4)]
    both = loss(output, targets)
    alone = [loss(clip_of(output, clip), [targets[clip]]) for clip in range(2)]
    counts = [loss.normaliser([target]) for target in targets]
    for key in set(both) - {"class_error", *(["class", "class_0"] if isinstance(loss, VisTRLoss) else [])}:
        mean = sum(part[key] * count for part, count in zip(alone, counts, strict=True)) / sum(counts)
        assert torch.isclose(both[key], mean, rtol=1e-4), key


@pytest.mark.parametrize("loss", VARIANTS, ids=name)
def test_the_order_of_targets_changes_nothing(loss, random_output, random_targets):
    output, target = random_output(1, logits=7), random_targets(3)
    shuffled = InstanceTargets(*(part[[2, 0, 1]] for part in target))
    first, second = loss(output, [target]), loss(output, [shuffled])
    for key, value in first.items():
        assert torch.isclose(value, second[key], rtol=1e-5), key


@pytest.mark.parametrize(
    "loss", [TrackLoss(matcher=TrackMatcher(dice_cost=2.0)), TrackLoss(mask_loss="focal")], ids=name
)
@pytest.mark.parametrize("height", [16, 14])
def test_padding_changes_nothing(loss, height, random_output, random_targets):
    output, target = random_output(1, height=height, seed=5), random_targets(2, height=height)
    plain = loss(output, [target])
    padded = InstanceOutput(output.logits, output.boxes, F.pad(output.masks, (0, 3, 0, 2), value=7.0), output.auxiliary)
    more = (0, 10, 0, 8 + (-height) % 4 - 2)
    mask = F.pad(torch.zeros(1, 3, height, 24, dtype=torch.bool), more, value=True)
    answer = loss(padded, [target._replace(masks=F.pad(target.masks, more))], mask)
    for key, value in plain.items():
        assert torch.isclose(value, answer[key], rtol=1e-5), key


def test_padding_teaches_nothing_at_the_targets_resolution(random_output, random_targets):
    output, target = random_output(1), random_targets(2)
    padding = torch.zeros(1, 3, 16, 24, dtype=torch.bool)
    padding[..., 12:] = True
    for loss in (TrackLoss(mask_resolution="target"), VisTRLoss()):
        output.masks.grad = None
        loss.total(loss(output, [target._replace(masks=target.masks & ~padding[0])], padding)).backward()
        assert (output.masks.grad[..., 4:] == 0).all()  # the bilinear filter reaches half a cell
        assert (output.masks.grad[..., :3] != 0).any()


@pytest.mark.parametrize("loss", VARIANTS, ids=name)
@pytest.mark.parametrize("tracks", [(0, 0), (0, 2), (6, 1)])
def test_any_number_of_tracks_gives_finite_losses_and_gradients_everywhere(loss, tracks, random_output, random_targets):
    output = random_output(2, logits=7)
    losses = loss(output, [random_targets(number) for number in tracks])
    loss.total(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    for leaf in (output.logits, output.boxes, output.masks, *output.auxiliary[0]):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()
    if not any(tracks):
        assert losses["box"] == losses["mask"] == losses["dice"] == 0


@pytest.mark.parametrize("loss", VARIANTS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_are_compared_in_float32(loss, dtype, random_output, random_targets):
    output, target = random_output(1, logits=7), random_targets(2)
    half = InstanceOutput(
        output.logits.to(dtype),
        output.boxes.to(dtype),
        output.masks.to(dtype),
        [InstancePrediction(*(part.to(dtype) for part in layer)) for layer in output.auxiliary],
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = loss(half, [target])
    assert all(value.dtype == torch.float32 for value in losses.values())
    whole = loss(output, [target])
    assert torch.isclose(loss.total(losses), loss.total(whole), rtol=0.02)


def test_outputs_and_targets_that_do_not_fit_are_refused(random_output, random_targets):
    loss: InstanceLoss = TrackLoss()
    with pytest.raises(ConfigurationError, match="2 clips, targets of 1"):
        loss(random_output(2), [random_targets(1)])
    with pytest.raises(ConfigurationError, match="clip 0 of the batch: predictions of 3 frames, targets of 4"):
        loss(random_output(1), [random_targets(1, frames=4)])
    with pytest.raises(ConfigurationError, match="expected a quarter"):
        loss(random_output(1), [random_targets(1, height=32)])


def test_a_network_that_has_diverged_is_reported(random_output, random_targets):
    output = random_output(1)
    output.logits = output.logits * float("nan")
    with pytest.raises(ConfigurationError, match="NaN"):
        TrackLoss()(output, [random_targets(1)])
