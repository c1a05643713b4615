"""Checkpoints that hold code, or another network: nothing of them runs, and one line says what is wrong."""

import os

import numpy as np
import pytest
import torch

import lightvid.checkpoints
from lightvid.commands import export, inpaint, segment
from lightvid.configuration import compose
from lightvid.errors import CheckpointError
from lightvid.training import evaluate, train
from lightvid.video.drawing import write_png


class Hostile:
    """Makes a folder when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


WAYS_IN = {
    "resume": lambda folder, file, tiny: train([f"resume={folder}"]),
    "evaluate": lambda folder, file, tiny: evaluate([f"run={folder}", "checkpoint=last"]),
    "init_from": lambda folder, file, tiny: train(tiny(f"init_from={file}", "trainer.max_steps=1")),
    "load": lambda folder, file, tiny: lightvid.checkpoints.load("inpaint", file),
    "inpaint": lambda folder, file, tiny: inpaint.run(
        [str(folder / "clip"), "--box", "2,2,8,8", "--checkpoint", str(file), "-o", str(folder / "out.mp4")]
    ),
    "segment": lambda folder, file, tiny: segment.run(
        [str(folder / "clip"), "--checkpoint", str(file), "-o", str(folder / "out")]
    ),
    "export": lambda folder, file, tiny: export.run([str(folder), "-o", str(folder / "out.pt2")]),
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_hostile_pickle_is_refused_and_never_run(tiny, tmp_path, way):
    folder, trace = tmp_path / "run", tmp_path / "trace"
    file = folder / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {"weight": torch.ones(2)}, "lightvid_config": Hostile(trace)}, file)
    for number in range(3):
        write_png(folder / "clip" / f"{number}.png", np.full((32, 48, 3), 60 * number, np.uint8))
    with pytest.raises(CheckpointError, match=r"last\.ckpt: holds objects that need code .*never run") as caught:
        WAYS_IN[way](folder, file, tiny)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("backbone.blocks=2", r"network\.backbone\.blocks\.1\.\S+ is in the network alone"),
        (
            "task.discriminator.channels=8",
            r"discriminator\.\S+ has the shape \(4, .*\) in it and \(8, .*\) in the network",
        ),
    ],
)
def test_a_checkpoint_of_another_architecture_names_the_first_part_that_differs(tiny, override, difference):
    run = train(tiny("name=one", "trainer.max_steps=2", "callbacks.pictures=null"))
    written = {name: (run / name).read_bytes() for name in ("config.yaml", "linked.yaml")}
    for command in (
        lambda: train([f"resume={run}", "trainer.max_steps=4", override]),
        lambda: evaluate([f"run={run}", override]),
    ):
        with pytest.raises(CheckpointError, match=f"of another architecture \\({difference}") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert {name: (run / name).read_bytes() for name in written} == written
    train([f"resume={run}", "trainer.max_steps=3"])  # a refused resume has left the run as it was
    assert compose([], saved=run / "config.yaml")["trainer"]["max_steps"] == 3
    evaluate([f"run={run}"])
