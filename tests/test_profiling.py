import importlib
import pkgutil

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry

from lightvid import ops
from lightvid.profiling import flops, peak_bytes, saved_bytes


def test_saved_bytes_count_each_storage_once_and_leave_out_what_exists_anyway():
    layer, x = nn.Linear(4, 8, bias=False), torch.randn(16, 4)
    hidden_bytes = 16 * 8 * 4

    def forward():
        hidden = layer(x).exp()  # exp keeps its result
        return hidden.view(-1) * hidden.view(-1)  # the same storage, twice more

    assert saved_bytes(forward, exclude=[x, layer.weight]) == hidden_bytes
    assert saved_bytes(forward) == hidden_bytes + x.nbytes


def test_saved_bytes_see_what_an_autograd_function_saves():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x.new_empty(100))
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return 2 * gradient

    x = torch.randn(3, requires_grad=True)
    assert saved_bytes(lambda: Double.apply(x)) == 400


def test_the_peak_is_what_lives_at_one_moment():
    def function():
        a = torch.empty(1000)
        b = a + 1
        del a
        c = b.view(10, 100) + 1  # a view takes nothing
        del b
        return c.add_(1)

    assert peak_bytes(function) == 2 * 4000


def test_tensors_from_before_are_not_in_the_peak():
    x = torch.randn(1000)
    assert peak_bytes(lambda: x.view(10, 100).mul_(2)) == 0
    assert peak_bytes(lambda: x + 1) == 4000


def test_the_peak_of_a_training_step_is_the_same_on_meta():
    def step(device):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)).to(device)
        x = torch.randn(2, 3, 16, 16, device=device)
        return peak_bytes(lambda: network(x).square().sum().backward())

    assert step("meta") == step("cpu") > 0


def test_flops_of_a_product_a_convolution_and_their_backward_pass():
    a, b = torch.randn(2, 3, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    product = 2 * 2 * 3 * 5
    assert flops(lambda: a @ b) == product
    assert flops(lambda: (a @ b).sum().backward()) == 3 * product
    image, kernel = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    assert flops(lambda: F.conv2d(image, kernel, padding=1)) == 2 * 8 * 8 * 4 * 3 * 9


def test_every_operator_of_the_library_says_what_it_costs():
    for module in pkgutil.iter_modules(ops.__path__):
        importlib.import_module(f"lightvid.ops.{module.name}")
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("lightvid::")}
    assert len(names) >= 7
    assert {name for name in names if getattr(torch.ops.lightvid, name) not in flop_registry} == set()
