"""Two processes that stay, so that each test pays for its steps alone."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed

LONGEST_JOB = 300  # seconds, on a machine that does much else


class Pair:
    """Runs `observed_runs.observe` in two processes that share a gloo group."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = 0
        self.errors = [(folder / f"errors-{rank}.txt").open("w") for rank in range(2)]
        # Bound for as long as they stay, and thus given to nobody else; with this option they may listen at it.
        self.reserved = socket.socket()
        self.reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.reserved.bind(("127.0.0.1", 0))
        port = self.reserved.getsockname()[1]
        self.processes = [self._start(rank, port) for rank in range(2)]
        self.answers: list[queue.Queue[str]] = [queue.Queue() for _ in range(2)]
        for process, answers in zip(self.processes, self.answers, strict=True):
            threading.Thread(target=_collect, args=(process, answers), daemon=True).start()

    def __call__(self, arguments: list[str], **options: Any) -> list[dict[str, Any]]:
        """What each process observed."""
        self.jobs += 1
        results = [self.folder / f"{self.jobs}-{rank}.pt" for rank in range(2)]
        for process, result in zip(self.processes, results, strict=True):
            job = {"arguments": [*arguments, "trainer.devices=2"], "options": options, "result": str(result)}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        for answers in self.answers:
            if "done" not in answers.get(timeout=LONGEST_JOB):
                pytest.fail("\n".join(Path(errors.name).read_text()[-2000:] for errors in self.errors))
        observed = [torch.load(result, weights_only=True) for result in results]
        for of_process in observed:
            assert "error" not in of_process, of_process["error"]
        return observed

    def stop(self) -> None:
        """End both processes."""
        for process, errors in zip(self.processes, self.errors, strict=True):
            process.kill()
            process.communicate()
            errors.close()
        self.reserved.close()

    def _start(self, rank: int, port: int) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "LOCAL_RANK": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors[rank],
            text=True,
            cwd=self.folder,
            env=environment,
        )


def _collect(process: subprocess.Popen[str], answers: "queue.Queue[str]") -> None:
    """Hand on the lines that end a job, and at last that the process is gone."""
    for line in process.stdout:
        if line == "done\n":
            answers.put(line)
    answers.put("gone")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes for this session."""
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of PyTorch has no gloo")
    pair = Pair(tmp_path_factory.mktemp("pair"))
    yield pair
    pair.stop()
