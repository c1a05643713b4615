"""Two processes on one machine (gloo): the strategies of each task, and weak scaling from one process to two.

    python benchmarks/ddp.py [--steps 12] [--rounds 3] [--paper]

Each number is the best median step of several rounds, as other work on the machine only slows down. CPU seconds are
those of one process. Both processes share the cores: weak scaling here shows the cost of talking, not that of GPUs.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import socket
import statistics
import time
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from rich.table import Table

FIND_UNUSED = "ddp_find_unused_parameters_true"
OTHER_STRATEGY = {"inpaint": "ddp_per_network", "vis": "fsdp"}
QUIET = (
    "trainer.accelerator=cpu",
    "trainer.limit_val_batches=0",
    "trainer.enable_checkpointing=false",
    "loggers={}",
    "callbacks={}",
)
WORKERS = {
    "inpaint": ["data.workers=0"],
    "vis": ["data.workers=0"],
    "joint": ["data.inpainting.workers=0", "data.segmentation.workers=0"],
}
PAPER = ["paper=sttn", "data=sample", "clip.height=60", "clip.width=108", "clip.frames=2", "data.batch_size=1"]
PAPER += ["data.sampling=mixed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="of a round, the first three not counted")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paper", action="store_true", help="also the networks of STTN in full size, on small clips")
    options = parser.parse_args()
    console = Console(width=110)
    cases = {f"{task}, default": (task, WORKERS[task]) for task in OTHER_STRATEGY}
    if options.paper:
        cases["inpaint, size of STTN"] = ("inpaint", [*PAPER, *WORKERS["inpaint"]])
    console.print(_strategies(cases, options))
    console.print(_weak_scaling(options))


def _strategies(cases: dict[str, tuple[str, list[str]]], options: argparse.Namespace) -> Table:
    table = _table("Strategies, two processes", "networks", "strategy")
    for name, (task, arguments) in cases.items():
        found: dict[str, list[tuple[float, float]]] = {FIND_UNUSED: [], OTHER_STRATEGY[task]: []}
        for _ in range(options.rounds):  # in turn, so that both see the same load
            for strategy, rounds in found.items():
                given = [f"task={task}", *arguments, f"trainer.strategy={strategy}", "trainer.devices=2"]
                rounds.append(measure(given, processes=2, steps=options.steps))
        for strategy, rounds in found.items():
            _add(table, name, strategy, rounds=rounds)
    return table


def _weak_scaling(options: argparse.Namespace) -> Table:
    table = _table("Weak scaling: the same batch for each process", "task", "processes")
    for task, arguments in WORKERS.items():
        for processes in (1, 2):
            given = [f"task={task}", *arguments, f"trainer.devices={processes}"]
            rounds = [measure(given, processes=processes, steps=options.steps) for _ in range(options.rounds)]
            _add(table, task, str(processes), rounds=rounds)
    return table


def measure(arguments: list[str], *, processes: int, steps: int) -> tuple[float, float]:
    """The median step of the first process, in seconds and in seconds of its CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    given = [*arguments, *QUIET, f"trainer.max_steps={steps}", "name=benchmark"]
    started = [context.Process(target=_train, args=(rank, port, processes, given, queue)) for rank in range(processes)]
    for process in started:
        process.start()
    try:
        found: tuple[float, float] = queue.get(timeout=900)
        return found
    finally:
        for process in started:
            process.join(timeout=20)
            process.kill()


class _Steps(pl.Callback):
    """Takes the time of each step."""

    def __init__(self) -> None:
        self.times: list[tuple[float, float]] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        self.times.append((time.perf_counter(), time.process_time()))

    def median(self, which: int) -> float:
        """Of the steps after the third."""
        times = [pair[which] for pair in self.times[2:]]
        return statistics.median(after - before for before, after in itertools.pairwise(times))


def _train(rank: int, port: int, processes: int, arguments: list[str], queue: Any) -> None:
    if processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)
    from lightvid.building import build
    from lightvid.configuration import compose

    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    steps = _Steps()
    run.trainer.callbacks.append(steps)  # type: ignore[attr-defined]
    run.trainer.fit(run.task, run.data)
    if rank == 0:
        queue.put((steps.median(0), steps.median(1)))


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=title, title_justify="left")
    for column in ("s/step", "CPU s/step", "steps/s"):
        table.add_column(column, justify="right")
    return table


def _add(table: Table, *names: str, rounds: list[tuple[float, float]]) -> None:
    wall, cpu = (min(values) for values in zip(*rounds, strict=True))
    table.add_row(*names, f"{wall:.3f}", f"{cpu:.3f}", f"{1 / wall:.2f}")


if __name__ == "__main__":
    main()
