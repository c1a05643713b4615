import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lightvid.ops.deformable_conv import deformable_conv2d
from lightvid.profiling import flops, peak_bytes, saved_bytes


def one_tap_at_a_time(x, offset, weight, bias=None, mask=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """The formula, number by number."""
    (outputs, inputs, rows, columns), channels = weight.shape, x.shape[1]
    width = channels * 2 * rows * columns // offset.shape[1]
    out = torch.zeros(len(x), outputs, *offset.shape[2:], dtype=x.dtype)

    def pixel(image, channel, row, column):
        inside = 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
        return x[image, channel, row, column].item() if inside else 0.0

    for image, output, h, w in torch.cartesian_prod(*map(torch.arange, out.shape)).tolist():
        total = 0.0 if bias is None else bias[output].item()
        for taken, row, column in torch.cartesian_prod(*map(torch.arange, weight.shape[1:])).tolist():
            channel = output // (outputs * inputs // channels) * inputs + taken
            tap = channel // width * rows * columns + row * columns + column
            y = h * stride[0] - padding[0] + row * dilation[0] + offset[image, 2 * tap, h, w].item()
            x_ = w * stride[1] - padding[1] + column * dilation[1] + offset[image, 2 * tap + 1, h, w].item()
            top, left = math.floor(y), math.floor(x_)
            down, right = y - top, x_ - left
            value = (1 - down) * (1 - right) * pixel(image, channel, top, left)
            value += (1 - down) * right * pixel(image, channel, top, left + 1)
            value += down * (1 - right) * pixel(image, channel, top + 1, left)
            value += down * right * pixel(image, channel, top + 1, left + 1)
            weighted = value if mask is None else value * mask[image, tap, h, w].item()
            total += weight[output, taken, row, column].item() * weighted
        out[image, output, h, w] = total
    return out


def inputs(
    batch=2,
    channels=4,
    size=(5, 6),
    deform_groups=2,
    outputs=4,
    groups=1,
    kernel=(3, 2),
    dtype=torch.float64,
    **options,
):
    """x, offset, weight, bias, mask; offsets between 0.1 and 0.9 from the pixels, so that derivatives exist."""
    lines = F.conv2d(torch.zeros(1, 1, *size), torch.zeros(1, 1, *kernel), **options).shape[2:]
    taps = deform_groups * kernel[0] * kernel[1]
    offset = torch.randint(-3, 3, (batch, 2 * taps, *lines)) + 0.1 + 0.8 * torch.rand(batch, 2 * taps, *lines)
    return (
        torch.randn(batch, channels, *size).to(dtype),
        offset.to(dtype),
        torch.randn(outputs, channels // groups, *kernel).to(dtype),
        torch.randn(outputs).to(dtype),
        torch.rand(batch, taps, *lines).to(dtype),
    )


GEOMETRIES = [
    {},
    {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)},
    {"groups": 2, "deform_groups": 1, "padding": (1, 1)},
    {"groups": 1, "deform_groups": 4},
    {"groups": 2, "deform_groups": 3, "channels": 6},  # neither divides the other
    {"groups": 4, "deform_groups": 2, "outputs": 8},
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", GEOMETRIES)
def test_equals_the_formula(options, masked):
    geometry = {name: value for name, value in options.items() if name in ("stride", "padding", "dilation")}
    x, offset, weight, bias, mask = inputs(batch=1, size=(4, 5), **options)
    mask = mask if masked else None
    result = deformable_conv2d(x, offset, weight, bias, mask=mask, **geometry)
    torch.testing.assert_close(result, one_tap_at_a_time(x, offset, weight, bias, mask, **geometry))


@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_a_convolution(groups):
    x, weight, bias = torch.randn(2, 32, 30, 54), torch.randn(8, 32 // groups, 3, 3), torch.randn(8)
    geometry = {"stride": 2, "padding": (1, 2), "dilation": 2}
    expected = F.conv2d(x, weight, bias, groups=groups, **geometry)
    offset, mask = torch.zeros(2, 2 * 4 * 9, *expected.shape[2:]), torch.ones(2, 4 * 9, *expected.shape[2:])
    tolerance = {"rtol": 0, "atol": 1e-6 * expected.abs().max().item()}
    torch.testing.assert_close(deformable_conv2d(x, offset, weight, bias, mask=mask, **geometry), expected, **tolerance)
    torch.testing.assert_close(deformable_conv2d(x, offset, weight, bias, **geometry), expected, **tolerance)


def test_whole_offsets_shift_the_features_first_down_then_right():
    x, weight = torch.randn(1, 3, 8, 9), torch.randn(2, 3, 3, 3)
    offset = torch.tensor([2.0, -1.0]).repeat(9).view(1, 18, 1, 1).expand(1, 18, 8, 9)
    everywhere = F.conv2d(F.pad(x, (3, 3, 3, 3)), weight)  # begins two pixels before a convolution with padding 1
    torch.testing.assert_close(deformable_conv2d(x, offset, weight, padding=1), everywhere[:, :, 4:12, 1:10])


def test_the_mask_weighs_every_tap_of_every_group():
    x, offset, weight, _, mask = inputs(channels=2, deform_groups=2, kernel=(1, 1))
    result = deformable_conv2d(x, offset, weight, mask=mask)
    parts = [deformable_conv2d(x[:, g : g + 1], offset[:, 2 * g : 2 * g + 2], weight[:, g : g + 1]) for g in (0, 1)]
    torch.testing.assert_close(result, parts[0] * mask[:, :1] + parts[1] * mask[:, 1:])


@pytest.mark.parametrize("offset", [1e3, -1e9, 1e30, math.inf, -math.inf, math.nan])
def test_positions_far_outside_or_not_finite_give_zeros_and_no_gradients(offset):
    x, _, weight, _, mask = (part.float().requires_grad_() for part in inputs())
    shifts = torch.full((2, 24, 3, 5), offset, requires_grad=True)
    result = deformable_conv2d(x, shifts, weight, mask=mask)
    assert torch.equal(result, torch.zeros_like(result))
    for gradient in torch.autograd.grad(result.sum(), (x, shifts, weight, mask)):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_features_fade_to_zero_one_pixel_outside():
    x, weight = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 1, 1)
    for shift, value in ((-1.0, 0.0), (-0.75, 0.25), (3.25, 0.75), (4.0, 0.0)):
        offset = torch.zeros(1, 2, 4, 4)
        offset[0, 0, 0, 0] = shift
        assert deformable_conv2d(x, offset, weight)[0, 0, 0, 0] == value


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", GEOMETRIES)
def test_gradients_are_those_of_finite_differences(options, masked):
    geometry = {name: value for name, value in options.items() if name in ("stride", "padding", "dilation")}
    *tensors, mask = (tensor.requires_grad_() for tensor in inputs(**{"size": (3, 4), "kernel": (2, 2), **options}))

    def function(x, offset, weight, bias, mask=None):
        return deformable_conv2d(x, offset, weight, bias, mask=mask, **geometry)

    assert torch.autograd.gradcheck(function, [*tensors, mask] if masked else tensors, fast_mode=True)


def test_work_in_parts_gives_the_same(monkeypatch):
    *tensors, mask = (tensor.requires_grad_() for tensor in inputs(size=(9, 8), deform_groups=4, padding=(1, 1)))

    def result_and_gradients():
        result = deformable_conv2d(*tensors, mask=mask, padding=1)
        return result, *torch.autograd.grad(result.square().sum(), [*tensors, mask])

    whole = result_and_gradients()
    monkeypatch.setattr("lightvid.ops.deformable_columns.COLUMNS_AT_ONCE", 1)
    torch.testing.assert_close(result_and_gradients(), whole)


def test_torch_finds_the_operator_in_order():
    x, offset, weight, bias, mask = (t.requires_grad_() for t in inputs(batch=1, size=(3, 4), kernel=(2, 2)))
    for arguments in ((x, offset, weight, bias, mask), (x, offset, weight, None, None)):
        torch.library.opcheck(torch.ops.lightvid.deformable_conv2d, (*arguments, [1, 1], [0, 0], [1, 1]))
    result = deformable_conv2d(x, offset, weight)
    torch.library.opcheck(
        torch.ops.lightvid.deformable_conv2d_backward,
        (torch.ones_like(result), x.detach(), offset.detach(), weight.detach(), mask.detach(), [1, 1], [0, 0], [1, 1]),
    )


def test_compiled_it_gives_the_same_at_any_size():
    function = torch.compile(deformable_conv2d, fullgraph=True, backend="aot_eager")
    for size in ((4, 5), (6, 7)):
        *tensors, mask = (tensor.requires_grad_() for tensor in inputs(size=size))
        result = function(*tensors, mask=mask)
        torch.testing.assert_close(result, deformable_conv2d(*tensors, mask=mask))
        gradients = torch.autograd.grad(result.sum(), [*tensors, mask])
        expected = torch.autograd.grad(deformable_conv2d(*tensors, mask=mask).sum(), [*tensors, mask])
        torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("features_only", [True, False])
def test_half_precision_is_rounded_once(dtype, features_only):
    """Beside float32 offsets the result is that of float32, rounded; half offsets are taken as they are."""
    tensors = [tensor.float() for tensor in inputs(size=(8, 9))]
    halves = [tensor.to(dtype) for tensor in tensors]
    x, offset, weight, bias, mask = [halves[0], *tensors[1:]] if features_only else halves
    result = deformable_conv2d(x, offset, weight, bias, mask=mask)
    expected = deformable_conv2d(*(t.float() for t in (x, offset, weight, bias)), mask=mask.float())
    assert result.dtype == dtype
    assert torch.equal(result, expected.to(dtype))


def test_gradients_have_the_dtypes_of_their_inputs_and_autocast_changes_nothing():
    x, offset, weight, bias, mask = (tensor.float() for tensor in inputs(size=(8, 9)))
    tensors = [tensor.requires_grad_() for tensor in (x.bfloat16(), offset, weight, bias, mask.half())]
    plain = deformable_conv2d(*tensors[:4], mask=tensors[4])
    with torch.autocast("cpu", torch.bfloat16):
        result = deformable_conv2d(*tensors[:4], mask=tensors[4])
        gradients = torch.autograd.grad(result.float().sum(), tensors)
    assert torch.equal(result, plain)
    assert [gradient.dtype for gradient in gradients] == [tensor.dtype for tensor in tensors]
    torch.testing.assert_close(gradients, torch.autograd.grad(plain.float().sum(), tensors))


def test_the_layout_in_memory_does_not_matter():
    tensors = [tensor.requires_grad_() for tensor in inputs(size=(8, 9))]
    other = [t.detach().to(memory_format=torch.channels_last) if t.dim() == 4 else t.detach() for t in tensors]
    other = [tensor.requires_grad_() for tensor in other]
    results = [deformable_conv2d(*kind[:4], mask=kind[4]) for kind in (tensors, other)]
    assert torch.equal(*results)
    gradients = [torch.autograd.grad(r.mean(), kind) for r, kind in zip(results, (tensors, other), strict=True)]
    torch.testing.assert_close(*gradients)


def test_two_runs_are_equal_to_the_last_bit():
    *tensors, mask = (tensor.float().requires_grad_() for tensor in inputs(size=(20, 30)))
    runs = []
    for _ in range(2):
        result = deformable_conv2d(*tensors, mask=mask)
        runs.append((result, *torch.autograd.grad(result.sum(), [*tensors, mask])))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))


def e2fgvi(batch=1, height=60, width=108):
    """The published alignment of two frames' features, without data."""
    shapes = ((256, height, width), (288, height, width), (144, height, width))
    x, offset, mask = (torch.empty(batch, *shape, device="meta", requires_grad=True) for shape in shapes)
    return x, offset, mask, torch.empty(128, 256, 3, 3, device="meta", requires_grad=True)


def test_nothing_is_kept_for_the_backward_pass_but_the_inputs():
    x, offset, mask, weight = e2fgvi()
    assert saved_bytes(lambda: deformable_conv2d(x, offset, weight, mask=mask, padding=1), exclude=e2fgvi()) > 0
    kept = [x, offset, mask, weight]
    assert saved_bytes(lambda: deformable_conv2d(x, offset, weight, mask=mask, padding=1), exclude=kept) == 0


def test_the_columns_are_never_whole():
    x, offset, mask, weight = e2fgvi()
    columns = 9 * x.nbytes
    with torch.no_grad():
        peak = peak_bytes(lambda: deformable_conv2d(x, offset, weight, mask=mask, padding=1))
    assert peak < 0.45 * columns
    training = peak_bytes(lambda: deformable_conv2d(x, offset, weight, mask=mask, padding=1).sum().backward())
    assert training < columns  # of which the gradients themselves are 0.42


def test_memory_and_cost_are_linear_in_pixels():
    def counts(batch, height):
        shapes = ((batch, 64, height, 128), (batch, 72, height, 128), (32, 64, 3, 3))
        x, offset, weight = (torch.empty(shape, device="meta", requires_grad=True) for shape in shapes)

        def step():
            deformable_conv2d(x, offset, weight, padding=1).sum().backward()

        return flops(step), peak_bytes(step)

    one, two, batch = counts(1, 128), counts(1, 256), counts(2, 128)
    assert two[0] == batch[0] == 2 * one[0]
    assert one[1] < min(two[1], batch[1])
    assert max(two[1], batch[1]) < 2 * one[1]  # the parts in work do not grow


def test_cost_is_that_of_the_convolution_and_four_corners_a_sample():
    x, offset, mask, weight = e2fgvi()
    convolution, corners = 2 * 128 * 9 * 256 * 60 * 108, 2 * 4 * 9 * 256 * 60 * 108

    def forward():
        return deformable_conv2d(x, offset, weight, mask=mask, padding=1)

    assert flops(forward) == convolution + corners
    assert flops(lambda: forward().sum().backward()) == 3 * convolution + 4 * corners


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_every_counter_finds_the_same_cost_on_every_device(device):
    x, offset, weight, bias, mask = (t.to(device).requires_grad_() for t in inputs(groups=2, deform_groups=4))

    def step():
        deformable_conv2d(x, offset, weight, bias, mask=mask).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    product, corners = 2 * 2 * 4 * 2 * 6 * 3 * 5, 2 * 4 * 2 * 4 * 6 * 3 * 5
    assert flops(step) == counter.get_total_flops() == 3 * product + 4 * corners


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"x": (4, 5, 6)}, "expected x (N, C, H, W), got (4, 5, 6)"),
        ({"weight": (4, 3, 3, 2)}, "expected weight (D, 4 / groups, kh, kw), got (4, 3, 3, 2)"),
        ({"weight": (3, 2, 3, 2)}, "expected weight (D, 4 / groups, kh, kw), got (3, 2, 3, 2)"),
        ({"weight": (4, 0, 3, 2)}, "expected weight (D, C / groups, kh, kw) without an empty side, got (4, 0, 3, 2)"),
        ({"weight": (4, 4, 7, 2)}, "the kernel (7, 2) with its dilation is larger than the padded x (2, 4, 5, 6)"),
        ({"offset": (2, 24, 5, 6)}, "expected offset (2, 2 * G * 6, 3, 5), where G divides 4, got (2, 24, 5, 6)"),
        ({"offset": (2, 36, 3, 5)}, "expected offset (2, 2 * G * 6, 3, 5), where G divides 4, got (2, 36, 3, 5)"),
        ({"offset": (1, 24, 3, 5)}, "expected offset (2, 2 * G * 6, 3, 5), where G divides 4, got (1, 24, 3, 5)"),
        ({"mask": (2, 6, 3, 5)}, "expected mask (2, 12, 3, 5), got (2, 6, 3, 5)"),
        ({"bias": (2,)}, "expected bias (4,), got (2,)"),
    ],
)
def test_shapes_that_do_not_fit_are_named_in_one_line(wrong, message):
    tensors = dict(zip(("x", "offset", "weight", "bias", "mask"), inputs(), strict=True))
    tensors |= {name: torch.zeros(shape) for name, shape in wrong.items()}
    with pytest.raises(ValueError) as error:
        deformable_conv2d(**tensors)
    assert str(error.value) == message


def test_impossible_strides_are_refused():
    x, offset, weight, *_ = inputs()
    with pytest.raises(ValueError, match="expected stride >= 1"):
        deformable_conv2d(x, offset, weight, stride=0)
    with pytest.raises(ValueError, match="expected dilation >= 1, one number or"):
        deformable_conv2d(x, offset, weight, dilation=(1, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_the_kernel_gives_what_the_specification_gives(dtype, masked):
    pytest.importorskip("triton")
    from lightvid.ops.kernels.deformable_conv import convolve

    geometry = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    cases = (
        {"channels": 12, "deform_groups": 2, "outputs": 5, "size": (9, 11), **geometry},
        {"channels": 40, "deform_groups": 1, "outputs": 130, "size": (4, 5)},  # several blocks of channels and outputs
    )
    for case in cases:
        x, offset, weight, bias, mask = (tensor.float() for tensor in inputs(**case))
        offset[0, 0, 0, 0], offset[0, 1, 1, 1], offset[1, 2, 0, 1] = math.nan, 1e30, -1e9
        bias, mask = (bias, mask) if masked else (None, None)
        options = {name: case.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))}
        pairs = [(value, value) if isinstance(value, int) else value for value in options.values()]
        result = convolve(x.to(dtype), offset, weight, bias, mask, *pairs)
        expected = deformable_conv2d(x.to(dtype), offset, weight, bias, mask=mask, **options)
        tolerance = 1e-5 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # NumPy about the infinity, in the interpreter
def test_the_kernel_agrees_where_the_mask_is_not_finite_also_on_single_rows_and_columns():
    pytest.importorskip("triton")
    from lightvid.ops.kernels.deformable_conv import convolve

    for size in ((1, 1), (1, 4), (4, 1)):
        tensors = inputs(batch=1, size=size, channels=2, kernel=(1, 1))
        x, offset, weight, bias, mask = (tensor.float() for tensor in tensors)
        mask[0, 0, 0, 0], mask[0, 1, 0, 0] = math.nan, math.inf
        offset[:] = 0.25
        result = convolve(x, offset, weight, bias, mask, (1, 1), (0, 0), (1, 1))
        expected = deformable_conv2d(x, offset, weight, bias, mask=mask)
        torch.testing.assert_close(result, expected, equal_nan=True)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_kernel_follows_the_precision_of_convolutions_whatever_that_of_products(allowed, monkeypatch):
    kernels = pytest.importorskip("lightvid.ops.kernels.deformable_conv")
    x, offset, weight, bias, mask = (tensor.float() for tensor in inputs(batch=1, channels=2, kernel=(1, 1)))
    precision = getattr(torch.backends.cuda.matmul, "fp32_precision", None)
    if precision is None:
        pytest.skip("this version of PyTorch has only one setting for all products")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        result = kernels.convolve(x, offset, weight, bias, mask, (1, 1), (0, 0), (1, 1))
        assert kernels._tf32_is_allowed() is allowed
    finally:
        torch.backends.cuda.matmul.fp32_precision = precision
    torch.testing.assert_close(result, deformable_conv2d(x, offset, weight, bias, mask=mask))
