"""Shared fixtures: the sample data, written once, and a training run small enough to repeat."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["TRITON_INTERPRET"] = "1"  # before any kernel is decorated: they run on the CPU
os.environ["WANDB_MODE"] = "disabled"  # a test that reads W&B files back asks for mode=offline itself
os.environ.setdefault("WANDB_SILENT", "true")


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
