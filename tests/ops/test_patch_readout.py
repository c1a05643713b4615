import pytest
import torch
from torch.nn import functional as F

from lightvid.ops.patch_attention import patch_readout
from lightvid.profiling import flops, peak_bytes, saved_bytes

SIMILARITIES = ["l2", "dot", "cosine"]


def volumes(query=(2, 2, 4, 3), key=(2, 3, 3, 5), channels=2, value_channels=3, dtype=torch.float64):
    torch.manual_seed(0)
    return tuple(
        torch.randn(*size, width, dtype=dtype, requires_grad=True)
        for size, width in ((query, channels), (key, channels), (key, value_channels))
    )


def random_field(query, key, neighbours=3):
    torch.manual_seed(1)
    positions = key.shape[1] * key.shape[2] * key.shape[3]
    index = torch.randint(-1, positions, (*query.shape[:4], neighbours), dtype=torch.int32)
    index[0, 0, 0, 0] = -1  # a query without neighbours
    index[0, 0, 0, 1] = torch.tensor([0, positions - 1, -1], dtype=torch.int32)[:neighbours]
    return index


def unfolded(volume, patch):
    """`(B, positions, patch * C)` with the border values repeated."""
    radius = patch // 2
    batch, frames, height, width, channels = volume.shape
    maps = volume.flatten(0, 1).permute(0, 3, 1, 2)
    maps = F.unfold(F.pad(maps, [radius] * 4, mode="replicate"), patch)
    return maps.transpose(1, 2).reshape(batch, frames * height * width, patch**2 * channels)


def full_attention(query, key, value, patch, similarity, temperature):
    q, k = unfolded(query, patch), unfolded(key, patch)
    if similarity == "l2":
        scores = -(q.unsqueeze(2) - k.unsqueeze(1)).square().mean(-1)
    elif similarity == "dot":
        scores = q @ k.mT / q.shape[-1]
    else:
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
    return ((scores / temperature).softmax(-1) @ value.flatten(1, 3)).view(*query.shape[:4], -1)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("patch", [3, (3, 1, 3)])
def test_gradients_are_those_of_the_function(similarity, patch):
    query, key, value = volumes(query=(2, 2, 2, 2), key=(2, 2, 2, 3), channels=2, value_channels=1)
    index = random_field(query, key)
    temperature = torch.tensor([0.5, 0.8], dtype=torch.float64, requires_grad=True)

    def function(query, key, value, temperature):
        return patch_readout(query, key, value, index, patch=patch, similarity=similarity, temperature=temperature)

    assert torch.autograd.gradcheck(function, (query, key, value, temperature))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_with_all_keys_as_neighbours_it_is_full_attention_between_patches(similarity):
    query, key, value = volumes()
    index = torch.stack([torch.randperm(45) for _ in range(2 * 24)]).int().view(2, 2, 4, 3, 45)
    result = patch_readout(query, key, value, index, patch=3, similarity=similarity, temperature=0.3)
    expected = full_attention(query, key, value, 3, similarity, 0.3)
    torch.testing.assert_close(result, expected)
    upstream = torch.randn_like(result)
    inputs = (query, key, value)
    torch.testing.assert_close(
        torch.autograd.grad(result, inputs, upstream), torch.autograd.grad(expected, inputs, upstream)
    )


def test_a_single_neighbour_is_copied_and_teaches_query_and_key_nothing():
    query, key, value = volumes()
    index = random_field(query, key, neighbours=1).clamp(min=0)
    result = patch_readout(query, key, value, index, patch=3)
    rows = index.view(2, -1).long() + torch.tensor([[0], [45]])
    assert torch.equal(result.view(2, 24, 3), value.flatten(0, 3)[rows])
    result.sum().backward()
    assert not query.grad.any() and not key.grad.any()
    assert value.grad.any()


def test_a_query_without_neighbours_gets_zeros_and_finite_gradients():
    inputs = volumes(dtype=torch.float32)
    for similarity in SIMILARITIES:
        result = patch_readout(*inputs, random_field(*inputs[:2]), patch=3, similarity=similarity)
        assert not result[0, 0, 0, 0].any()
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(result.sum(), inputs))
    result = patch_readout(*inputs, torch.full((2, 2, 4, 3, 2), -1, dtype=torch.int32))
    assert not result.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(result.sum(), inputs))


@pytest.mark.parametrize("scale", [1e-4, 1e-9])
def test_cosine_gradients_are_right_for_small_norms_and_for_those_that_count_as_constant(scale):
    query, key, value = (part.detach() for part in volumes(query=(1, 1, 2, 2), key=(1, 1, 2, 3)))
    index = torch.randint(6, (1, 1, 2, 2, 3), generator=torch.Generator().manual_seed(0)).int()

    def function(query, key):
        return patch_readout(query, key, value, index, patch=3, similarity="cosine", temperature=1.0)

    small = [(scale * part).requires_grad_() for part in (query, key)]
    assert torch.autograd.gradcheck(function, small, eps=1e-3 * scale, atol=1e-4 / scale, rtol=1e-3)


def test_empty_patches_have_finite_cosine_gradients():
    query, key, value = volumes(dtype=torch.float32)
    index = random_field(query, key)
    with torch.no_grad():
        query[0], key[1] = 0, 0
    result = patch_readout(query, key, value, index, patch=3, similarity="cosine")
    assert result.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(result.sum(), (query, key, value)))


def test_missing_neighbours_have_no_weight():
    query, key, value = volumes()
    index = random_field(query, key, neighbours=2)
    padded = torch.cat((torch.full_like(index, -1), index), dim=-1)
    torch.testing.assert_close(
        patch_readout(query, key, value, padded, patch=3), patch_readout(query, key, value, index, patch=3)
    )


def test_each_clip_of_a_batch_has_its_own_keys_and_temperature():
    query, key, value = volumes()
    index = random_field(query, key)
    together = patch_readout(query, key, value, index, patch=3, temperature=torch.tensor([0.2, 3.0]))
    for clip, temperature in enumerate((0.2, 3.0)):
        one = slice(clip, clip + 1)
        alone = patch_readout(query[one], key[one], value[one], index[one], patch=3, temperature=temperature)
        torch.testing.assert_close(together[one], alone)


@pytest.mark.parametrize("dtypes", [(torch.bfloat16,) * 3, (torch.float16, torch.float32, torch.bfloat16)])
def test_mixed_and_low_precision_is_close_to_float32(dtypes):
    inputs = volumes(dtype=torch.float32)
    index = random_field(*inputs[:2])
    low = [tensor.detach().to(dtype).requires_grad_() for tensor, dtype in zip(inputs, dtypes, strict=True)]
    result = patch_readout(*low, index, patch=3, temperature=1.0)
    assert result.dtype == dtypes[2]
    torch.testing.assert_close(
        result.float(), patch_readout(*inputs, index, patch=3, temperature=1.0), atol=0.05, rtol=0.05
    )
    result.float().sum().backward()
    assert [tensor.grad.dtype for tensor in low] == list(dtypes)


def test_autocast_changes_nothing():
    inputs = volumes(dtype=torch.float32)
    index = random_field(*inputs[:2])
    plain = patch_readout(*inputs, index, patch=3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_readout(*inputs, index, patch=3), plain)


def test_memory_layout_does_not_matter():
    query, key, value = volumes()
    index = random_field(query, key)
    strided = [tensor.detach().transpose(2, 3).contiguous().transpose(2, 3) for tensor in (query, key, value)]
    assert torch.equal(patch_readout(*strided, index, patch=3), patch_readout(query, key, value, index, patch=3))


def test_the_operator_fits_into_pytorch():
    inputs = volumes(query=(2, 1, 2, 2), key=(2, 1, 2, 3))
    index = random_field(*inputs[:2])
    temperature = torch.tensor(0.5, requires_grad=True)
    arguments = (*inputs, index, temperature, [1, 3, 3], [1, 1, 1], "cosine")
    torch.library.opcheck(torch.ops.lightvid.patch_attention.default, arguments)


def test_it_compiles_into_one_graph():
    inputs = volumes(dtype=torch.float32)
    index = random_field(*inputs[:2])

    def function(query, key, value):
        return patch_readout(2 * query, key, value, index, patch=3).square()

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    result, expected = compiled(*inputs), function(*inputs)
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(torch.autograd.grad(result.sum(), inputs), torch.autograd.grad(expected.sum(), inputs))


def meta_inputs(side):
    with torch.device("meta"):
        features = [torch.empty(1, 1, side, side, 16, requires_grad=True) for _ in range(3)]
        index = torch.empty(1, 1, side, side, 3, dtype=torch.int32)
        return (*features, index), torch.empty((), requires_grad=True)


def test_only_inputs_are_kept_and_memory_is_linear_in_pixels():
    peaks = []
    for side in (96, 192):
        inputs, temperature = meta_inputs(side)

        def run(inputs=inputs, temperature=temperature):
            return patch_readout(*inputs, temperature=temperature)

        assert saved_bytes(run, exclude=[*inputs, temperature]) == 0
        peaks.append(peak_bytes(lambda: run().sum().backward()))
    assert peaks[1] <= 4.05 * peaks[0]
    assert peaks[0] <= 8 * 2**20


def test_floating_point_operations_are_counted_once():
    inputs, temperature = meta_inputs(32)
    pairs = 32 * 32 * 3
    forward = 2 * pairs * (7 * 7 * 16 + 16)
    assert flops(lambda: patch_readout(*inputs, temperature=temperature)) == forward
    assert flops(lambda: patch_readout(*inputs, temperature=temperature).sum().backward()) == 4 * forward


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": torch.zeros(2, 2, 4, 4, 3, dtype=torch.int32)}, "index must be int32 .* at the query positions"),
        ({"index": torch.zeros(2, 2, 4, 3, 3)}, "index must be int32"),
        ({"value": torch.zeros(2, 3, 3, 4, 3)}, "value must be .* at the key positions"),
        ({"key": torch.zeros(2, 3, 3, 5, 4)}, "agree in batch and channels"),
        ({"patch": 4}, "odd size"),
        ({"similarity": "l1"}, "similarity must be one of"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"temperature": torch.ones(3)}, "temperature must be one number or"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, message):
    query, key, value = volumes()
    arguments = {"query": query, "key": key, "value": value, "index": random_field(query, key), **change}
    with pytest.raises(ValueError, match=message) as error:
        patch_readout(**arguments)
    assert "\n" not in str(error.value)


def test_an_index_outside_of_the_keys_is_no_neighbour():
    query, key, value = volumes()
    index = random_field(query, key)
    outside = index.clone()
    outside[index < 0] = 10**6
    results = [patch_readout(query, key, value, field, patch=3) for field in (index, outside)]
    gradients = [torch.autograd.grad(result.square().sum(), (query, key, value)) for result in results]
    assert torch.equal(*results)
    assert all(map(torch.equal, *gradients))
