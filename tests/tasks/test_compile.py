"""Compiled networks: the same steps, and the same names in checkpoints."""

import pytest
import torch

from lightvid.building import build
from lightvid.cli import _as_pairs
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.training import train

OF_NETWORKS = ("task.network", "task.discriminator")


@pytest.fixture
def backend(monkeypatch):
    """Dynamo alone: its graphs run as they are; the networks that it was asked to compile."""
    compiled = []
    compile_in_place = torch.nn.Module.compile

    def compile_eagerly(self, **options):
        compiled.append(type(self).__name__)
        compile_in_place(self, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    torch._dynamo.reset()
    return compiled


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_a_compiled_run_takes_the_same_steps_and_resumes_either_way(tiny, backend):
    options = ["task.ema_decay=0.9", "callbacks.pictures=null", "trainer.max_steps=2", "task.schedule=null"]
    plain = train(tiny(*options, "name=plain"))
    assert backend == []
    compiled = train(tiny(*options, "name=compiled", "compile=true"))
    assert backend == ["InpaintingGenerator", "TPatchGAN"]
    assert list(weights(plain)) == list(weights(compiled))
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], weight, rtol=1e-4, atol=1e-5)
    train([f"resume={compiled}", "compile=false", "trainer.max_steps=3"])
    train([f"resume={plain}", "compile=true", "trainer.max_steps=3"])
    assert backend == ["InpaintingGenerator", "TPatchGAN"] * 2
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(compiled)[name], weight, rtol=1e-4, atol=1e-5)


def test_a_joint_task_compiles_three_networks(tiny_joint, backend):
    build(compose(tiny_joint())).task.compile_networks()
    assert backend == ["InpaintingGenerator", "TPatchGAN", "InstanceSegmenter"]


def test_the_flag_is_the_option():
    assert _as_pairs(["task=vis", "--compile"]) == ["task=vis", "compile=true"]


def test_a_task_that_does_not_say_what_to_compile_is_refused_in_one_line(tiny):
    foreign = "task.class_path=pytorch_lightning.demos.boring_classes.BoringModel"
    with pytest.raises(ConfigurationError, match=r"compile=true: BoringModel has no compile_networks\(\)"):
        train([argument for argument in tiny(foreign, "compile=true") if not argument.startswith(OF_NETWORKS)])
