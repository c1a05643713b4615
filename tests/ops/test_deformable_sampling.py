import sys

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightvid.ops.deformable_sampling import deformable_sampling
from lightvid.profiling import flops, peak_bytes, saved_bytes

MODES = ["trilinear", "per_frame"]


def make_inputs(
    mode, *, batch=2, clips=2, size=(3, 4, 5), heads=2, width=3, queries=7, points=4, dtype=torch.float64, **options
):
    """Random value, reference (of `clips` clips), offsets that also leave the clip, and logits."""
    frames, height, columns = size
    shape = (batch, queries, heads, *((frames,) if mode == "per_frame" else ()), points)
    shapes = (
        (batch, frames, height, columns, heads, width),
        (clips, queries, 3),
        (*shape, 2 if mode == "per_frame" else 3),
        shape,
    )
    value, reference, offsets, logits = (torch.randn(shape, dtype=dtype, **options) for shape in shapes)
    return [tensor.requires_grad_() for tensor in (value, reference.sigmoid().detach(), 2 * offsets.detach(), logits)]


def sample_by_grid_sample(value, reference, offsets, logits):
    frames, height, width, _, channels = value.shape[1:]
    if offsets.shape[-1] == 2:  # points in frames: put each at its frame's centre
        here = torch.arange(frames, dtype=offsets.dtype)[:, None] + 0.5 - reference[:, :, None, None, None, 2] * frames
        time = here.unsqueeze(-1).expand(len(offsets), -1, offsets.shape[2], -1, offsets.shape[4], -1)
        offsets, logits = torch.cat((offsets, time), dim=-1).flatten(3, 4), logits.flatten(3, 4)
    location = reference[:, :, None, None] + offsets / torch.tensor([width, height, frames])
    grid = (2 * location - 1).transpose(1, 2).flatten(0, 1).unsqueeze(1)  # (B M, 1, Q, K, 3)
    maps = value.permute(0, 4, 5, 1, 2, 3).flatten(0, 1)
    samples = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False).squeeze(2)
    attention = logits.softmax(-1).transpose(1, 2).flatten(0, 1).unsqueeze(1)
    return (samples * attention).sum(-1).view(len(value), -1, channels, samples.shape[2]).permute(0, 3, 1, 2)


def gradients(function, inputs, direction):
    return torch.autograd.grad(function(*inputs), inputs, direction, materialize_grads=True)


@pytest.mark.parametrize("clips", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_result_and_gradients_are_those_of_grid_sample_and_a_weighted_sum(mode, clips):
    inputs = make_inputs(mode, clips=clips)
    expected = sample_by_grid_sample(*inputs)
    torch.testing.assert_close(deformable_sampling(*inputs, mode=mode), expected)
    direction = torch.randn_like(expected)
    ours = gradients(lambda *tensors: deformable_sampling(*tensors, mode=mode), inputs, direction)
    torch.testing.assert_close(ours, gradients(sample_by_grid_sample, inputs, direction))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_pass_gradcheck_between_cells(mode):
    value, reference, offsets, logits = make_inputs(mode, batch=1, clips=1, size=(2, 3, 3), queries=2, points=2)
    size = torch.tensor([3, 3, 2])
    reference = ((torch.randint(0, 2, reference.shape) + 0.5) / size).double().requires_grad_()
    offsets = (torch.randint(-2, 2, offsets.shape) + torch.rand(offsets.shape) * 0.8 + 0.1).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda *inputs: deformable_sampling(*inputs, mode=mode), (value, reference, offsets, logits)
    )


def test_all_cells_as_points_are_dense_attention():
    frames, height, width = size = (2, 3, 4)
    value, reference, _, _ = make_inputs("trilinear", size=size, clips=1, queries=1)
    reference = torch.full_like(reference, 0.5)
    t, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) + 0.5 - n / 2 for n in size), indexing="ij")
    offsets = torch.stack((x, y, t), dim=-1).view(1, 1, 1, -1, 3).expand(2, 1, 2, -1, -1)
    logits = torch.randn(2, 1, 2, frames * height * width, dtype=torch.float64)
    expected = torch.einsum("bqmk,bkmd->bqmd", logits.softmax(-1), value.flatten(1, 3))
    torch.testing.assert_close(deformable_sampling(value, reference, offsets, logits), expected)


def test_the_clip_fades_to_zero_within_one_cell_of_its_border():
    value = torch.ones(1, 1, 1, 4, 1, 1)
    reference = torch.tensor([[[0.0, 0.5, 0.5]]])  # the left edge: half a cell outside of the first centre
    at = torch.tensor([-0.5, -0.25, 0.0, 0.5, 4.0, 4.25, 4.5, 1e30, -1e30])
    offsets = F.pad(at.view(1, -1, 1, 1, 1), (0, 2))
    result = deformable_sampling(value, reference.expand(1, len(at), 3), offsets, torch.zeros(1, len(at), 1, 1))
    torch.testing.assert_close(result.flatten(), torch.tensor([0.0, 0.25, 0.5, 1.0, 0.5, 0.25, 0.0, 0.0, 0.0]))


def test_points_that_are_not_finite_count_as_outside():
    inputs = make_inputs("trilinear", queries=4, dtype=torch.float32)
    with torch.no_grad():
        for point, number in enumerate((float("nan"), float("inf"), -float("inf"))):
            inputs[2][:, :, :, point, point] = number
    far = inputs[2].detach().nan_to_num(1e6, 1e6, -1e6)
    result = deformable_sampling(*inputs)
    torch.testing.assert_close(result, deformable_sampling(inputs[0], inputs[1], far, inputs[3]))
    result.sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in inputs)


@pytest.mark.parametrize("mode", MODES)
def test_many_parts_of_the_queries_give_what_one_gives(mode, monkeypatch):
    inputs = make_inputs(mode, queries=40, size=(2, 3, 3))
    direction = torch.randn(2, 40, 2, 3, dtype=torch.float64)

    def sample(*tensors):
        return deformable_sampling(*tensors, mode=mode)

    expected = sample(*inputs), gradients(sample, inputs, direction)
    monkeypatch.setattr(sys.modules[deformable_sampling.__module__], "CORNERS_AT_ONCE", 1)
    torch.testing.assert_close((sample(*inputs), gradients(sample, inputs, direction)), expected)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_in_any_memory_order_give_the_same(mode):
    inputs = make_inputs(mode)
    strided = [tensor.detach().transpose(0, -1).contiguous().transpose(0, -1).requires_grad_() for tensor in inputs]
    assert not strided[0].is_contiguous()
    direction = torch.randn(3, 2, 7, 2, dtype=torch.float64).permute(1, 2, 3, 0)

    def sample(*tensors):
        return deformable_sampling(*tensors, mode=mode)

    torch.testing.assert_close(sample(*strided), sample(*inputs))
    torch.testing.assert_close(gradients(sample, strided, direction), gradients(sample, inputs, direction))


@pytest.mark.parametrize(
    "dtypes",
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float32, torch.bfloat16)],
    ids=["bfloat16 features", "float16 features", "bfloat16 offsets and logits"],
)
def test_dtypes_mix_and_only_the_inputs_are_rounded(dtypes):
    exact = make_inputs("trilinear")
    kinds = (dtypes[0], torch.float32, dtypes[1], dtypes[1])
    inputs = [tensor.detach().to(dtype).requires_grad_() for tensor, dtype in zip(exact, kinds, strict=True)]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    result, expected = deformable_sampling(*inputs), deformable_sampling(*exact)
    torch.testing.assert_close(result, expected.to(dtypes[0]))
    direction = torch.randn_like(result)
    ours = torch.autograd.grad(result, inputs, direction)
    rounded = zip(torch.autograd.grad(expected, exact, direction.double()), kinds, strict=True)
    torch.testing.assert_close(ours, tuple(gradient.to(dtype) for gradient, dtype in rounded), rtol=1e-2, atol=1e-5)


def test_gradients_are_the_same_bits_every_time():
    inputs = make_inputs("trilinear", queries=200, dtype=torch.float32)
    direction = torch.randn(2, 200, 2, 3)
    first, second = (gradients(deformable_sampling, inputs, direction) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_the_operators_keep_the_rules_of_custom_operators(mode):
    value, reference, offsets, logits = make_inputs(mode, dtype=torch.float32)
    if mode == "per_frame":
        offsets, logits = (tensor.detach().flatten(3, 4).requires_grad_() for tensor in (offsets, logits))
    inputs = (value, reference, offsets, logits)
    torch.library.opcheck(torch.ops.lightvid.deformable_sampling, inputs)
    inputs = (torch.randn(2, 7, 2, 3), *(tensor.detach() for tensor in inputs))
    torch.library.opcheck(torch.ops.lightvid.deformable_sampling_backward, inputs)


def test_compiled_it_gives_the_eager_result_and_gradients():
    inputs = make_inputs("per_frame", dtype=torch.float32)

    def sample(*tensors):
        return deformable_sampling(*tensors, mode="per_frame") * 2

    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")
    direction = torch.randn(2, 7, 2, 3)
    torch.testing.assert_close(compiled(*inputs), sample(*inputs))
    torch.testing.assert_close(gradients(compiled, inputs, direction), gradients(sample, inputs, direction))


@pytest.mark.parametrize("mode", MODES)
def test_nothing_but_the_inputs_is_kept_for_the_backward_pass(mode):
    inputs = make_inputs(mode, device="meta", size=(4, 16, 16), queries=1024)
    assert saved_bytes(lambda: deformable_sampling(*inputs, mode=mode), exclude=inputs) == 0


def step_peak(frames, **sizes):
    sizes = {"device": "meta", "dtype": torch.float32, "batch": 1, "clips": 1, "size": (frames, 20, 26), **sizes}
    inputs = make_inputs("trilinear", queries=frames * 20 * 26, **sizes)
    return peak_bytes(lambda: deformable_sampling(*inputs).sum().backward())


def test_a_step_of_12_frames_with_384_channels_and_16_points_takes_60_mib():
    assert step_peak(12, heads=8, width=48, points=16) <= 60 * 2**20


def test_memory_grows_with_the_tokens():
    assert 1.95 <= step_peak(288) / step_peak(144) <= 2.05


def test_operations_are_those_of_the_corners():
    value, reference, offsets, logits = make_inputs("trilinear")
    corners = 2 * 7 * 2 * 4 * 8
    forward = 2 * corners * 3
    assert flops(lambda: deformable_sampling(value, reference, offsets, logits)) == forward
    with FlopCounterMode(display=False) as counter:
        deformable_sampling(value, reference, offsets, logits).sum().backward()
    assert counter.get_total_flops() == 3 * forward  # the gradients of features and weights cost as much again, each


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "nearest"}, "unknown mode 'nearest': choose one of trilinear, per_frame"),
        ({"value": (2, 3, 4, 5, 6)}, r"expected value \(B, T, H, W, M, D\) .*, got \(2, 3, 4, 5, 6\)"),
        ({"value": (0, 3, 4, 5, 2, 3)}, r"without an empty side, got \(0, 3, 4, 5, 2, 3\)"),
        ({"value": (2, 3, 0, 5, 2, 3)}, r"without an empty side, got \(2, 3, 0, 5, 2, 3\)"),
        ({"logits": (2, 7, 2, 0)}, r"expected trilinear logits \(2, 7, 2, K\) with K >= 1, got \(2, 7, 2, 0\)"),
        ({"reference": (3, 7, 3)}, r"expected reference \(2 or 1, Q, 3\), got \(3, 7, 3\)"),
        ({"logits": (2, 7, 1, 4)}, r"expected trilinear logits \(2, 7, 2, K\) .*, got \(2, 7, 1, 4\)"),
        ({"offsets": (2, 7, 2, 4, 2)}, r"expected trilinear offsets \(2, 7, 2, 4, 3\), got \(2, 7, 2, 4, 2\)"),
        ({"mode": "per_frame"}, r"expected per_frame logits \(2, 7, 2, 3, K\) .*, got \(2, 7, 2, 4\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, message):
    names = ("value", "reference", "offsets", "logits")
    inputs = dict(zip(names, make_inputs("trilinear"), strict=True))
    mode = change.pop("mode", "trilinear")
    inputs |= {name: torch.zeros(shape) for name, shape in change.items()}
    with pytest.raises(ValueError, match=message) as error:
        deformable_sampling(**inputs, mode=mode)
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # NumPy about the NaN, in the interpreter
@pytest.mark.parametrize(("mode", "dtype"), [("trilinear", torch.float32), ("per_frame", torch.bfloat16)])
def test_kernels_agree_with_the_plain_implementation(mode, dtype):
    pytest.importorskip("triton")
    from lightvid.ops.kernels.deformable_sampling import sample, sample_backward

    inputs = make_inputs(mode, batch=2, clips=1, size=(2, 5, 7), queries=17, width=5, points=3, dtype=torch.float32)
    value, reference, offsets, logits = (tensor.detach() for tensor in inputs)
    if mode == "per_frame":
        offsets, logits = offsets.flatten(3, 4), logits.flatten(3, 4)
    value = value.to(dtype)
    for point, number in enumerate((float("nan"), float("inf"), -1e30)):
        offsets[0, 0, 0, point, 0] = number
    inputs = (value, reference, offsets, logits)
    exact = tuple(tensor.double() for tensor in inputs)
    direction = torch.randn(2, 17, 2, 5).to(dtype)
    torch.testing.assert_close(sample(*inputs), torch.ops.lightvid.deformable_sampling(*exact).to(dtype))
    expected = torch.ops.lightvid.deformable_sampling_backward(direction.double(), *exact)
    expected = tuple(gradient.to(tensor.dtype) for gradient, tensor in zip(expected, inputs, strict=True))
    torch.testing.assert_close(
        sample_backward(direction, *inputs), expected, atol=1e-5, rtol=1e-5 + (dtype != torch.float32) * 0.01
    )


def test_kernels_take_fewer_free_points_than_frames():
    pytest.importorskip("triton")
    from lightvid.ops.kernels.deformable_sampling import sample, sample_backward

    inputs = make_inputs("trilinear", batch=1, clips=1, size=(3, 4, 5), queries=5, points=2, dtype=torch.float32)
    inputs = [tensor.detach() for tensor in inputs]
    direction = torch.randn(1, 5, 2, 3)
    torch.testing.assert_close(sample(*inputs), deformable_sampling(*inputs))
    expected = torch.ops.lightvid.deformable_sampling_backward(direction, *inputs)
    torch.testing.assert_close(sample_backward(direction, *inputs), expected)


def test_on_request_the_gradients_on_a_gpu_are_those_without_atomics(monkeypatch):
    pytest.importorskip("triton")
    from lightvid.ops.kernels import deformable_sampling as kernels

    operators = sys.modules[deformable_sampling.__module__]
    monkeypatch.setattr(operators, "triton_is_usable", lambda tensor: True)
    monkeypatch.setattr(kernels, "sample_backward", lambda *tensors: "by atomics")
    inputs = [torch.randn(2, 7, 2, 3), *(tensor.detach().float() for tensor in make_inputs("trilinear"))]
    assert operators._sample_backward_cuda(*inputs) == "by atomics"
    torch.use_deterministic_algorithms(True)
    try:
        result = operators._sample_backward_cuda(*inputs)
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(result, torch.ops.lightvid.deformable_sampling_backward(*inputs))
