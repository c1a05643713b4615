"""Reversible blocks under distributed data parallel training, in two processes."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from lightvid.attention import PatchAttention
from lightvid.backbone import SpatioTemporalTransformer

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this build of PyTorch has no gloo")


def make():
    torch.manual_seed(0)
    mixer = partial(PatchAttention, divisions=(1, 2))
    return SpatioTemporalTransformer(8, blocks=2, mixer=mixer, residual="reversible").double()


def clips():
    return torch.randn(2, 1, 2, 4, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def gradients(network):
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def worker(rank, store, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    found = {}
    for unused in (False, True):
        network = DistributedDataParallel(make(), find_unused_parameters=unused)
        network(clips()[rank]).square().sum().backward()
        found[f"find_unused_parameters={unused}"] = gradients(network).numpy()
    network = DistributedDataParallel(make())
    with network.no_sync():
        network(clips()[rank]).square().sum().backward()
    network(clips()[rank]).square().sum().backward()
    found["accumulated"] = gradients(network).numpy() / 2
    if rank == 0:
        queue.put(found)
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_average_the_gradients_of_their_clips(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=worker, args=(rank, tmp_path / "store", queue)) for rank in range(2)]
    for process in processes:
        process.start()
    try:
        found = queue.get(timeout=300)
    finally:
        for process in processes:
            process.join(timeout=30)
            process.kill()
    network = make()
    for clip in clips():
        (network(clip).square().sum() / 2).backward()
    assert set(found) == {"find_unused_parameters=False", "find_unused_parameters=True", "accumulated"}
    for name, value in found.items():
        torch.testing.assert_close(torch.from_numpy(value), gradients(network), msg=lambda text, n=name: f"{n}: {text}")
