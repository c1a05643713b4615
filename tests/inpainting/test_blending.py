import pytest
import torch

from lightvid.inpainting.blending import BlendedFrames, blend_weights, to_bytes


def test_triangular_weights_give_way_from_one_window_to_the_next():
    assert blend_weights(5, "triangular") == [1, 2, 3, 2, 1]
    assert blend_weights(4, "triangular") == [1, 2, 2, 1]
    assert blend_weights(3, "uniform") == [1, 1, 1]


def flat(length, value):
    return torch.full((length, 3, 2, 2), float(value))


@pytest.mark.parametrize(("kind", "expected"), [("triangular", [0.25, 0.5, 0.75]), ("uniform", [0.5, 0.5, 0.5])])
def test_frames_of_two_windows_are_their_weighted_mean(kind, expected):
    blended = BlendedFrames(kind)
    blended.add(range(11), flat(11, 0))
    blended.add(range(8, 19), flat(11, 1))
    assert [blended.take(index)[0, 0, 0].item() for index in (8, 9, 10)] == pytest.approx(expected)
    assert blended.take(0).abs().max() == 0
    assert blended.take(18).min() == 1


def test_a_frame_without_prediction_has_none_and_a_taken_one_is_forgotten():
    blended = BlendedFrames("uniform")
    blended.add([3], flat(1, 0.5))
    assert blended.take(2) is None
    assert blended.take(3) is not None
    assert blended.take(3) is None


def test_half_precision_predictions_are_summed_in_float32():
    blended = BlendedFrames("uniform")
    for _ in range(3):
        blended.add([0], flat(1, 1 / 3).bfloat16())
    assert blended.take(0).dtype == torch.float32


def test_predictions_become_the_nearest_grey_level():
    values = torch.tensor([-1.0, 1.0, 1.2, -1.3, 0.0, 100.6 / 127.5 - 1])
    assert to_bytes(values.expand(3, 1, 6))[0, :, 1].tolist() == [0, 255, 255, 0, 128, 101]
