import pytest
import torch

from lightvid.attention.psal import PSAL
from lightvid.backbone import SpatioTemporalTransformer
from lightvid.errors import ConfigurationError
from lightvid.profiling import peak_bytes, saved_bytes


def transparent(channels, **options):
    """A mixer with one head, whose query, key, value and output are the tokens themselves, and a cold softmax."""
    mixer = PSAL(channels, heads=1, features=channels, temperature=1e-4, **options).eval()
    for layer in (mixer.query, mixer.key, mixer.value, mixer.output):
        torch.nn.init.eye_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return mixer


def textured(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("aggregate", [False, True])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 5, 7), (3, 4, 3), (2, 1, 9)])
def test_any_clip_length_and_size_works(size, aggregate):
    x = textured(2, *size, 8)
    result = PSAL(8, aggregate=aggregate)(x)
    assert result.shape == x.shape
    assert result.isfinite().all()


@pytest.mark.parametrize(
    "options",
    [{}, {"aggregate": True, "neighbours": 1}, {"similarity": "dot"}, {"similarity": "cosine", "patch": (3, 3, 3)}],
)
def test_gradients_reach_all_parameters(options):
    mixer = PSAL(8, **options)
    mixer(textured(1, 2, 6, 6, 8)).square().sum().backward()
    for name, parameter in mixer.named_parameters():
        assert parameter.grad.isfinite().all()
        # The softmax does not see what is added to all keys of a dot product.
        assert parameter.grad.any() or name == "key.bias"


def test_a_single_neighbour_trains_values_but_not_the_search():
    mixer = PSAL(8, neighbours=1)
    mixer(textured(1, 2, 6, 6, 8)).square().sum().backward()
    assert not any(p.grad.any() for p in (mixer.query.weight, mixer.key.weight, mixer.log_temperature))
    assert mixer.value.weight.grad.any()


def test_a_fixed_temperature_takes_no_gradient():
    mixer = PSAL(8, learn_temperature=False)
    mixer(textured(1, 1, 4, 4, 8)).sum().backward()
    assert mixer.log_temperature.grad is None


def test_evaluation_is_repeatable_and_training_is_random():
    mixer = PSAL(8, iterations=0)
    x = textured(1, 2, 8, 8, 8)
    assert not torch.equal(mixer(x), mixer(x))
    mixer.eval()
    assert torch.equal(mixer(x), mixer(x))


def test_the_random_state_decides_what_training_finds():
    mixer = PSAL(8, iterations=0)
    x = textured(1, 2, 8, 8, 8)
    state = torch.get_rng_state()
    first = mixer(x)
    torch.set_rng_state(state)
    assert torch.equal(mixer(x), first)


@pytest.mark.parametrize("residual", ["checkpoint", "reversible"])
def test_recomputed_blocks_find_the_same_neighbours_again(residual):
    def gradients(**options):
        torch.manual_seed(0)
        network = SpatioTemporalTransformer(8, blocks=2, mixer=lambda width: PSAL(width, iterations=1), **options)
        torch.manual_seed(1)
        network(textured(1, 2, 8, 8, 8)).square().sum().backward()
        return [parameter.grad for parameter in network.parameters()]

    plain = {"checkpoint": {"residual": "additive"}, "reversible": {"residual": "reversible", "recompute": False}}
    torch.testing.assert_close(gradients(residual=residual), gradients(**plain[residual]), atol=1e-4, rtol=1e-4)


def test_an_object_that_moves_is_found_in_the_other_frame():
    mixer = transparent(4, other_frames_only=True, neighbours=1)
    background, thing = textured(1, 2, 16, 16, 4), 5 + textured(5, 5, 4)
    x = background.clone()
    x[0, 0, 2:7, 2:7] = thing
    x[0, 1, 9:14, 8:13] = thing
    result = mixer(x)
    torch.testing.assert_close(result[0, 0, 3:6, 3:6], x[0, 1, 10:13, 9:12])
    torch.testing.assert_close(result[0, 1, 10:13, 9:12], x[0, 0, 3:6, 3:6])


def test_other_frames_only_means_every_token():
    mixer = transparent(4, other_frames_only=True)
    x = textured(1, 3, 6, 6, 4)
    own_frame = torch.arange(3).view(1, 3, 1, 1, 1)
    assert (mixer.search(x, x, None) // 36 != own_frame).all()


def test_holes_are_filled_from_the_frame_in_which_they_are_visible():
    """Key patches around a hole are not visible, so what fills it comes from the other frame."""
    mixer = transparent(4, queries="holes", keys="visible", neighbours=128, iterations=1)  # all keys
    x = textured(1, 1, 8, 8, 4).expand(1, 2, -1, -1, -1)
    holes = torch.zeros(1, 2, 8, 8)
    holes[0, 0, 3:5, 3:5] = 1
    torch.testing.assert_close(mixer(x, holes), x)
    hidden = torch.cat((x[:, :1], textured(1, 1, 8, 8, 4) + 9), dim=1)
    assert not torch.isclose(mixer(hidden, holes)[0, 0, 3:5, 3:5], hidden[0, 0, 3:5, 3:5]).any()


def test_tokens_that_do_not_search_keep_their_own_value():
    mixer = PSAL(8, queries="holes").eval()
    x, holes = textured(1, 2, 8, 8, 8), torch.zeros(1, 2, 8, 8)
    holes[:, 0, 2:5, 2:5] = 1
    own, visible = mixer.output(mixer.value(x)), holes == 0
    for mixer.aggregate in (False, True):
        result = mixer(x, holes)
        torch.testing.assert_close(result[visible], own[visible])
        assert not torch.isclose(result[~visible], own[~visible]).all()
    assert not torch.isclose(mixer(x)[visible], own[visible]).all()  # without holes all tokens search


@pytest.mark.parametrize("options", [{"keys": "visible"}, {"keys": "visible", "queries": "holes", "aggregate": True}])
def test_a_clip_without_visible_patches_keeps_its_values(options):
    mixer = PSAL(8, **options)
    x = textured(2, 2, 5, 5, 8)
    holes = torch.ones(2, 2, 5, 5)
    holes[1] = 0
    result = mixer(x, holes)
    torch.testing.assert_close(result[0], mixer.output(mixer.value(x[0])))
    result.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


def test_the_number_of_neighbours_may_change_after_training():
    mixer = PSAL(8).eval()
    x = textured(1, 2, 8, 8, 8)
    mixer.neighbours = 1
    assert mixer(x).isfinite().all()
    assert mixer.search(textured(2, 2, 8, 8, 8), textured(2, 2, 8, 8, 8), None).shape[-1] == 1


def test_bfloat16_autocast_works():
    mixer = PSAL(8)
    with torch.autocast("cpu", torch.bfloat16):
        result = mixer(textured(1, 2, 6, 6, 8))
        result.float().sum().backward()
    assert result.dtype == torch.bfloat16
    assert mixer.query.weight.grad.isfinite().all()


def test_memory_is_linear_in_the_length_of_the_clip():
    with torch.device("meta"):
        mixer = PSAL(32)
        clips = [torch.empty(1, frames, 40, 60, 32) for frames in (2, 4)]
    saved = [saved_bytes(lambda: mixer(x), exclude=[x, *mixer.parameters()]) for x in clips]  # noqa: B023
    peaks = [peak_bytes(lambda: mixer(x).sum().backward()) for x in clips]  # noqa: B023
    assert saved[1] <= 2.01 * saved[0]
    assert peaks[1] <= 2.05 * peaks[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "8 channels do not split into 3 equal heads"),
        ({"heads": 0}, "at least 1 head"),
        ({"iterations": -1}, "no negative number of iterations"),
        ({"patch": 4}, "odd size"),
        ({"temperature": 0}, "temperature must be positive"),
        ({"similarity": "l1"}, "unknown similarity 'l1'"),
        ({"queries": "some"}, "unknown queries 'some'"),
        ({"keys": "hidden"}, "unknown keys 'hidden'"),
    ],
)
def test_wrong_options_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigurationError, match=message) as error:
        PSAL(8, **options)
    assert "\n" not in str(error.value)
