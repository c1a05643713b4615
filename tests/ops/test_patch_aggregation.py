import itertools

import pytest
import torch
from torch.nn import functional as F

from lightvid.ops.patch_attention import patch_aggregation, patch_readout
from lightvid.profiling import peak_bytes, saved_bytes

SIMILARITIES = ["l2", "dot", "cosine"]


def inputs(query=(2, 2, 4, 3), key=(2, 3, 3, 5), channels=2, neighbours=2, dtype=torch.float64):
    torch.manual_seed(0)
    tensors = [
        torch.randn(*size, width, dtype=dtype, requires_grad=True)
        for size, width in ((query, channels), (key, channels), (key, 3))
    ]
    index = torch.randint(-1, key[1] * key[2] * key[3], (*query, neighbours), dtype=torch.int32)
    return *tensors, index


def whole_patch(volume, position, size):
    """The patch at a position of a volume `(T, H, W, C)`, border values repeated."""
    places = [
        [min(max(centre + step, 0), length - 1) for step in range(-(side // 2), side // 2 + 1)]
        for centre, side, length in zip(position, size, volume.shape, strict=False)
    ]
    return torch.stack([volume[place] for place in itertools.product(*places)])


def similarity_of(a, b, similarity):
    if similarity == "l2":
        return -(a - b).square().mean()
    if similarity == "dot":
        return (a * b).mean()
    return F.cosine_similarity(a.flatten(), b.flatten(), dim=0)


def by_the_definition(query, key, value, index, size, similarity, temperature):
    """PSAL, Eq. 10, query by query: all candidates in one list, and one softmax."""
    out = torch.zeros(*query.shape[:4], value.shape[-1], dtype=value.dtype)
    frames, height, width = key.shape[1:4]
    window = list(itertools.product(*(range(-(side // 2), side // 2 + 1) for side in size)))
    for clip, *place in itertools.product(*map(range, query.shape[:4])):
        scores, values = [], []
        for offset in window:
            other = [p + o for p, o in zip(place, offset, strict=True)]
            if not all(0 <= p < length for p, length in zip(other, query.shape[1:4], strict=True)):
                continue
            for neighbour in index[(clip, *other)].tolist():
                found = (neighbour // (height * width), neighbour // width % height, neighbour % width)
                moved = [p - o for p, o in zip(found, offset, strict=True)]
                if neighbour < 0 or not all(
                    0 <= p < length for p, length in zip(moved, (frames, height, width), strict=True)
                ):
                    continue
                pair = whole_patch(query[clip], other, size), whole_patch(key[clip], found, size)
                scores.append(similarity_of(*pair, similarity) / temperature)
                values.append(value[(clip, *moved)])
        if scores:
            out[(clip, *place)] = torch.stack(scores).softmax(0) @ torch.stack(values)
    return out


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("size", [(1, 3, 3), (3, 1, 3)])
def test_it_is_the_softmax_over_all_candidates(similarity, size):
    *volumes, index = inputs()
    result = patch_aggregation(*volumes, index, patch=size, similarity=similarity, temperature=0.4)
    expected = by_the_definition(*volumes, index, size, similarity, 0.4)
    torch.testing.assert_close(result, expected, atol=1e-12, rtol=1e-12)
    upstream = torch.randn_like(result)
    torch.testing.assert_close(
        torch.autograd.grad(result, volumes, upstream),
        torch.autograd.grad(expected, volumes, upstream),
        atol=1e-10,
        rtol=1e-10,
    )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradients_are_those_of_the_function(similarity):
    *volumes, index = inputs(query=(2, 1, 3, 2), key=(2, 2, 2, 2))
    temperature = torch.tensor([0.5, 0.8], dtype=torch.float64, requires_grad=True)

    def function(query, key, value, temperature):
        return patch_aggregation(query, key, value, index, patch=3, similarity=similarity, temperature=temperature)

    assert torch.autograd.gradcheck(function, (*volumes, temperature))


def test_a_single_neighbour_teaches_query_and_key():
    query, key, value, index = inputs(neighbours=1)
    patch_aggregation(query, key, value, index, patch=3).square().sum().backward()
    assert query.grad.any() and key.grad.any()


def test_a_patch_of_one_position_is_the_plain_readout():
    arguments = inputs()
    torch.testing.assert_close(patch_aggregation(*arguments, patch=1), patch_readout(*arguments, patch=1))


def test_queries_whose_surroundings_have_no_neighbours_get_zeros():
    query, key, value, index = inputs(query=(2, 1, 7, 7), key=(2, 1, 3, 5))
    index.fill_(-1)
    index[:, :, 3, 3] = 7  # the middle of the keys
    result = patch_aggregation(query, key, value, index, patch=3)
    reached = torch.zeros(7, 7, dtype=torch.bool)
    reached[2:5, 2:5] = True
    assert torch.equal(result.ne(0).any(-1), reached.expand(2, 1, 7, 7))
    # The neighbour of a neighbour moves along: what lies around key 7 is copied around (3, 3).
    torch.testing.assert_close(result[:, :, 2:5, 2:5], value[:, :, :, 1:4])


def test_mixed_precision_is_close_to_float32():
    *volumes, index = inputs(dtype=torch.float32)
    low = [tensor.bfloat16() for tensor in volumes[:2]]
    result = patch_aggregation(*low, volumes[2], index, patch=3, temperature=1.0)
    assert result.dtype == torch.float32
    torch.testing.assert_close(
        result, patch_aggregation(*volumes, index, patch=3, temperature=1.0), atol=0.05, rtol=0.05
    )


def test_the_operator_fits_into_pytorch():
    *volumes, index = inputs(query=(2, 1, 2, 2), key=(2, 1, 2, 3))
    arguments = (*volumes, index, torch.tensor([0.5, 1], requires_grad=True), [1, 3, 1], [1, 3, 1], "l2")
    torch.library.opcheck(torch.ops.lightvid.patch_attention.default, arguments)


def test_it_compiles_into_one_graph():
    *volumes, index = inputs(dtype=torch.float32)

    def function(query, key, value):
        return patch_aggregation(query, key, value, index, patch=3)

    result = torch.compile(function, fullgraph=True, backend="aot_eager")(*volumes)
    expected = function(*volumes)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(torch.autograd.grad(result.sum(), volumes), torch.autograd.grad(expected.sum(), volumes))


def peak(side, patch, *, backward=False):
    with torch.device("meta"):
        volumes = [torch.empty(1, 1, side, side, 16, requires_grad=backward) for _ in range(3)]
        index = torch.empty(1, 1, side, side, 3, dtype=torch.int32)
        temperature = torch.empty((), requires_grad=backward)
    if not backward:
        return peak_bytes(lambda: patch_aggregation(*volumes, index, patch=patch, temperature=temperature))
    assert (
        saved_bytes(
            lambda: patch_aggregation(*volumes, index, patch=patch, temperature=temperature),
            exclude=[*volumes, index, temperature],
        )
        == 0
    )
    return peak_bytes(lambda: patch_aggregation(*volumes, index, patch=patch, temperature=temperature).sum().backward())


def test_memory_is_linear_in_pixels_and_does_not_grow_with_the_patch():
    assert peak(192, 5, backward=True) <= 4.05 * peak(96, 5, backward=True)
    assert peak(192, 7) <= 1.05 * peak(192, 3)


def test_512_pixels_fit_into_a_small_part_of_the_published_memory():
    assert peak(512, 7) <= 0.07e9  # published: 2.95 GB
