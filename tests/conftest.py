"""Shared fixtures: the sample data, written once, and a training run small enough to repeat."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is decorated: they run on the CPU
os.environ["WANDB_MODE"] = "disabled"  # a test that reads W&B files back asks for mode=offline itself
os.environ.setdefault("WANDB_SILENT", "true")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin each test with the same random numbers, whichever tests its process has run before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data in the benchmarks' layouts."""
    from lightvid.datamodules import make_sample_data

    return make_sample_data(tmp_path_factory.mktemp("data") / "sample")


@pytest.fixture
def tiny(sample_root: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Arguments of a run of seconds: 32 x 48 pixels, 3 frames, one narrow block; more arguments may follow."""

    def arguments(*more: str) -> list[str]:
        return [
            "task=inpaint",
            f"data.root={sample_root}",
            f"out={tmp_path / 'runs'}",
            "clip.height=32",
            "clip.width=48",
            "clip.frames=3",
            "data.workers=0",
            "data.validation_frames=3",
            "backbone.channels=16",
            "backbone.blocks=1",
            "task.network.stem.channels=16",
            "task.network.head.channels=16",
            "task.discriminator.channels=4",
            "trainer.accelerator=cpu",
            "trainer.max_steps=4",
            "trainer.val_check_interval=2",
            "trainer.log_every_n_steps=1",
            "callbacks.last.every_n_train_steps=2",
            "callbacks.progress=null",
            *more,
        ]

    return arguments


@pytest.fixture
def tiny_vis(sample_root: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """As `tiny`, for video instance segmentation: clips of 3 frames of 32 x 56 pixels."""

    def arguments(*more: str) -> list[str]:
        network = "task.network"
        return [
            "task=vis",
            f"data.root={sample_root}",
            f"out={tmp_path / 'runs'}",
            "clip.height=32",
            "clip.width=56",
            "clip.frames=3",
            "data.workers=0",
            "data.batch_size=2",
            "backbone.channels=24",
            "backbone.blocks=1",
            "task.overlap=1",
            f"{network}.stem.options={{embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], layer_type: basic}}",
            f"{network}.stem.tokens_from=-1",
            f"{network}.decoder.queries.instances=4",
            f"{network}.decoder.hidden=32",
            f"{network}.mask_head.width=8",
            "trainer.accelerator=cpu",
            "trainer.max_steps=4",
            "trainer.val_check_interval=2",
            "trainer.limit_val_batches=2",
            "trainer.log_every_n_steps=1",
            "callbacks.last.every_n_train_steps=2",
            "callbacks.progress=null",
            *more,
        ]

    return arguments


@pytest.fixture
def tiny_joint(tiny_joint_in: Callable[..., list[str]], tmp_path: Path) -> Callable[..., list[str]]:
    """As `tiny`, for both tasks at once: clips of 3 frames, 32 x 48 pixels with holes and 32 x 56 with instances."""
    return partial(tiny_joint_in, tmp_path)


@pytest.fixture(scope="session")
def tiny_joint_in(sample_root: Path) -> Callable[..., list[str]]:
    """`tiny_joint` for runs that several tests share, in a folder that is given first."""

    def arguments(folder: Path, *more: str) -> list[str]:
        inpainting, network = "task.inpainting", "task.segmentation.network"
        return [
            "task=joint",
            f"data.inpainting.root={sample_root}",
            f"data.segmentation.root={sample_root}",
            f"out={folder / 'runs'}",
            "clip.height=32",
            "clip.width=48",
            "clip.frames=3",
            "clip.shortest=32",
            "data.inpainting.workers=0",
            "data.inpainting.validation_frames=3",
            "data.segmentation.workers=0",
            "data.segmentation.batch_size=2",
            "backbone.channels=24",
            "backbone.blocks=1",
            f"{inpainting}.network.head.hidden=4",
            f"{inpainting}.discriminator.channels=4",
            "task.segmentation.overlap=1",
            f"{network}.stem.options={{embedding_size: 8, hidden_sizes: [8, 16], depths: [1, 1], layer_type: basic}}",
            f"{network}.decoder.queries.instances=4",
            f"{network}.decoder.hidden=32",
            f"{network}.mask_head.width=8",
            "trainer.accelerator=cpu",
            "trainer.max_steps=4",
            "trainer.val_check_interval=2",
            "trainer.limit_val_batches=2",
            "trainer.log_every_n_steps=1",
            "callbacks.last.every_n_train_steps=2",
            "callbacks.progress=null",
            *more,
        ]

    return arguments
