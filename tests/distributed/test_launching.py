"""Runs of several processes from the command line: one folder, one writer, an end in bounded time."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.launch import is_main
from lightvid.training import train

LAUNCHERS = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_JOB_NAME")
LONGEST = 300  # seconds, on a machine that does much else
QUIET = ("trainer.devices=2", "callbacks.pictures=null", "loggers.wandb=null")


@pytest.fixture
def alone(monkeypatch):
    """The environment of a command that nothing has launched."""
    for name in (*LAUNCHERS, "LIGHTVID_RUN_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_torchrun_trains_in_one_folder_that_one_process_writes(tiny, alone, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lightvid"]
    result = subprocess.run(
        [*launcher, "train", *tiny("name=by-torchrun", *QUIET, "trainer.max_steps=2")],
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.count("Run folder:") == 1
    (run,) = (tmp_path / "runs" / "inpaint").iterdir()
    assert "hole_psnr" in json.loads((run / "results.json").read_text())["lightvid"]
    steps = [line for line in (run / "metrics.csv").read_text().splitlines()[1:] if line]
    assert len(steps) == len(set(steps))


def test_a_killed_process_ends_the_run_with_a_message_and_it_resumes(tiny, alone, tmp_path):
    command = [sys.executable, "-m", "lightvid", "train"]
    command += tiny("name=killed", *QUIET, "trainer.max_steps=100000", "trainer.val_check_interval=100000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = tmp_path / "runs" / "inpaint" / "killed"
    last = run / "checkpoints" / "last.ckpt"
    main = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        deadline = time.monotonic() + LONGEST
        while not last.exists() and main.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        (child,) = children(main.pid)
        os.kill(child, signal.SIGKILL)
        _, errors = main.communicate(timeout=LONGEST)
    finally:
        main.kill()
    assert main.returncode == 2, errors[-2000:]
    assert f"another process of this run has ended, or cannot be reached; resume={run} goes on" in errors
    assert "Traceback" not in errors
    reached = torch.load(last, weights_only=True)["global_step"]
    alone = ["trainer.devices=1", "data.batch_size=4"]  # as many clips a step as both had
    train([f"resume={run}", *alone, f"trainer.max_steps={reached + 2}", "trainer.limit_val_batches=0"])
    assert torch.load(last, weights_only=True)["global_step"] == reached + 2


def children(pid):
    """The processes that a process has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(number) for number in file.read().split()]


@pytest.mark.parametrize(
    ("environment", "main", "apart"),
    [
        ({}, True, False),
        ({"LOCAL_RANK": "1"}, False, False),
        ({"NODE_RANK": "0"}, True, True),
        ({"NODE_RANK": "1"}, False, True),
        ({"NODE_RANK": "0", "LOCAL_RANK": "0"}, True, False),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0"}, True, True),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "4", "LOCAL_RANK": "0"}, False, True),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, True, True),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_JOB_NAME": "train"}, False, True),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, True, False),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "bash"}, True, False),
    ],
)
def test_processes_that_start_apart_need_the_name_of_their_run(tiny, alone, environment, main, apart):
    for name, value in environment.items():
        alone.setenv(name, value)
    assert is_main() == main
    assert compose(tiny("name=agreed"))["run_dir"].endswith("runs/inpaint/agreed")
    if apart:
        with pytest.raises(ConfigurationError, match="agree on a run folder by name=NAME"):
            compose(tiny())
        alone.setenv("LIGHTVID_RUN_DIR", "/runs/told")
        assert compose(tiny())["run_dir"] == "/runs/told"
    else:
        assert compose(tiny())["run_dir"].endswith("runs/inpaint/additive-sample")


@pytest.mark.parametrize("task", ["tiny_vis", "tiny_joint"])
def test_a_strategy_of_one_network_each_is_for_inpainting_alone(pair, request, task):
    arguments = request.getfixturevalue(task)("trainer.strategy=ddp_per_network", "loggers={}")
    with pytest.raises(AssertionError, match="ddp_per_network is for task=inpaint"):
        pair([*arguments, "callbacks.best=null", "callbacks.last=null", "trainer.enable_checkpointing=false"])


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.strategy=fsdp_cpu_offload"], "fsdp_cpu_offload is not supported"),
        (["trainer.strategy=deepspeed_stage_3"], "deepspeed_stage_3 is not supported"),
        (["trainer.strategy={class_path: pytorch_lightning.strategies.FSDPStrategy}"], "is not supported"),
        (["trainer.strategy=FSDP", "trainer.precision=16-mixed"], "precision=32-true or bf16-mixed, not 16-mixed"),
        (["trainer.strategy=fsdp", "compile=true"], "fsdp and compile=true exclude each other"),
    ],
)
def test_a_strategy_that_does_not_fit_is_refused_in_one_line(tiny_vis, options, message, devices):
    with pytest.raises(ConfigurationError, match=message) as caught:
        build(compose(tiny_vis(f"trainer.devices={devices}", *options)))
    assert "\n" not in str(caught.value)


def test_a_misspelt_strategy_is_refused_in_one_line(tiny_vis):
    with pytest.raises(ConfigurationError, match="ddp_per_netwrok") as caught:
        build(compose(tiny_vis("trainer.devices=2", "trainer.strategy=ddp_per_netwrok")))
    assert "\n" not in str(caught.value)


def test_a_termination_is_remembered_without_a_message_to_other_processes(tiny, monkeypatch):
    trainer = build(compose(tiny("trainer.devices=2"))).trainer
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda *_, **__: pytest.fail("a message within a handler"))
    trainer._signal_connector.register_signal_handlers()
    try:
        signal.raise_signal(signal.SIGTERM)
        assert trainer.received_sigterm
    finally:
        trainer._signal_connector.teardown()
