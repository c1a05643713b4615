"""What an offline W&B run has written, read from its file: a log in blocks of 32 KiB of protocol buffers."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
HEADER = 7  # bytes, of the file and of each piece of a record: checksum, length, kind
LAST_PIECES = (1, 4)  # whole records, and the ends of divided ones
LONGEST = 120  # seconds that W&B may take to write, on a machine that does much else


@dataclass
class OfflineRun:
    """Everything of interest in a `.wandb` file."""

    id: str = ""
    has_ended: bool = False
    config: dict = field(default_factory=dict)
    history: list[dict] = field(default_factory=list)
    artifacts: list = field(default_factory=list)

    def column(self, name: str) -> list:
        """The values of a metric, in order."""
        return [row[name] for row in self.history if name in row]


def read_offline_runs(run_folder: Path) -> list[OfflineRun]:
    """The offline runs in a run folder, oldest first, once written: W&B's own process goes on after their end."""
    return [read_offline_run(file) for file in ended_offline_files(run_folder)]


def ended_offline_files(run_folder: Path) -> list[Path]:
    """The `.wandb` files in a run folder, once the end of each run is in its file."""
    folders = sorted(run_folder.glob("wandb/offline-run-*"))  # these are made by the run itself, at its start
    assert folders, f"no offline run in {run_folder}"
    deadline = time.monotonic() + LONGEST
    while True:
        files = [file for folder in folders for file in folder.glob("*.wandb")]
        if len(files) == len(folders) and all(read_offline_run(file).has_ended for file in files):
            return files
        assert time.monotonic() < deadline, f"W&B did not write the end of a run: {folders}"
        time.sleep(0.1)


def read_offline_run(file: Path) -> OfflineRun:
    """Read one `.wandb` file."""
    run = OfflineRun()
    for content in records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run.id = record.run.run_id
            run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            run.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "history":
            items = record.history.item
            run.history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items})
        elif kind == "exit":
            run.has_ended = True
        elif kind == "artifact":
            run.artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            run.artifacts.append(record.request.log_artifact.artifact)
    return run


def records(content: bytes):
    """The records of a log, without one that is still being written."""
    assert content[:4] in (b":W&B", b"")  # not begun yet
    place, record = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:  # no header begins in the last bytes of a block
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEADER])
        if place + HEADER + length > len(content):
            return
        record += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in LAST_PIECES:
            yield record
            record = b""
