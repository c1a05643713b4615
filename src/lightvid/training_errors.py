"""What may end a training from outside, in one line that says how to go on."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.distributed import DistError

from lightvid.errors import CheckpointError, ConfigurationError, DataError, LightvidError, nearest

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
DENIED = (errno.EACCES, errno.EPERM)  # to read or to write

# What gloo says in a plain RuntimeError.
LOST_PROCESS = re.compile(
    r"gloo.*(closed|reset|Broken pipe|timed out|Timed out)|[Cc]onnection (closed|reset) by peer", re.S
)


@contextmanager
def in_one_line(folder: Path) -> Iterator[None]:
    """Turn errors of the disk, of data workers, of other processes and of checkpoints of another network into ours.

    Args:
        folder: of the run, whose last checkpoint is the way on.

    Raises:
        ConfigurationError: a file cannot be written, the optimiser has other groups than its checkpoint, or Lightning
            refuses an option.
        DataError: a file cannot be read, or a data worker was killed.
        CheckpointError: the checkpoint's tensors are not those of the network.
        LightvidError: another process of the run has ended.
    """
    try:
        yield
    except LightvidError:
        raise
    except MisconfigurationException as error:
        raise _of_an_option(str(error)) from error
    except OSError as error:
        if (ours := _of_a_file(error, folder)) is None:
            raise
        raise ours from error
    except ValueError as error:
        if "loaded state dict" not in str(error):
            raise
        raise ConfigurationError(
            f"{folder}: the checkpoint's optimiser has other groups of parameters; leave out what changes the learning"
            " rates of some layers"
        ) from error
    except RuntimeError as error:
        if (ours := _of_a_process(error, folder)) is None:
            raise
        raise ours from error


def _of_an_option(report: str) -> ConfigurationError:
    if found := re.search(
        r"monitor='(.*?)'\)`? could not find the monitored key in the returned metrics: (\[.*\])", report
    ):
        metrics = re.findall(r"'(val/.*?)'", found[2])
        return ConfigurationError(f"callbacks.best.monitor={found[1]} is no metric: {nearest(found[1], metrics)}")
    return ConfigurationError(" ".join(report.split()))


def _of_a_file(error: OSError, folder: Path) -> LightvidError | None:
    number, reason, name = _file_error(error)
    if number not in (*UNWRITABLE, *DENIED):
        return None
    path = Path(name or folder)
    if number in UNWRITABLE or path.absolute().is_relative_to(folder.absolute()):
        return ConfigurationError(f"{path}: cannot be written ({reason}){_way_on(folder)}")
    return DataError(f"{path}: cannot be read ({reason}){_way_on(folder)}")


def _file_error(error: OSError) -> tuple[int | None, str, str]:
    """Number, reason and file; of an error of a data worker, which is raised again with its report alone."""
    if error.errno is None and (found := re.search(r"\[Errno (\d+)\] ([^\n:]*)(?:: '(.*)')?\s*$", str(error))):
        return int(found[1]), found[2], found[3] or ""
    return error.errno, error.strerror or "", "" if error.filename is None else str(error.filename)


def _of_a_process(error: RuntimeError, folder: Path) -> LightvidError | None:
    if worker := re.search(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\)(.*)", str(error)):
        return DataError(
            f"data worker {worker[1]} died{_signal(error)}, often for want of memory:"
            f" a smaller data.workers or data.batch_size needs less{_way_on(folder)}"
        )
    if isinstance(error, DistError) or LOST_PROCESS.search(str(error)):
        return LightvidError(f"another process of this run has ended, or cannot be reached{_way_on(folder)}")
    if "Sharding propagation failed" in str(error):
        return ConfigurationError(
            "trainer.strategy=fsdp divides the parameters, and this optimiser does not work on parts of them: take"
            " torch.optim.AdamW, Adam or SGD"
        )
    if "loading state_dict for" in str(error):
        return CheckpointError(f"{folder}: {first_difference(str(error))}")
    return None


def first_difference(report: str) -> str:
    """The first tensor that PyTorch's report on a state that does not fit names, in one line."""
    if shapes := re.search(r"size mismatch for (\S+): .*?Size\(\[(.*?)\]\).*?Size\(\[(.*?)\]\)", report, re.S):
        name, saved, expected = shapes.groups()
        difference = f"{name} has the shape ({saved}) in it and ({expected}) in the network"
    elif lacking := re.search(r'(Missing|Unexpected) key\(s\) in state_dict: "(.*?)"', report):
        where = "in the network alone" if lacking[1] == "Missing" else "in the checkpoint alone"
        difference = f"{lacking[2]} is {where}"
    else:
        difference = report.strip().splitlines()[-1].strip()
    return f"the checkpoint is of another architecture ({difference}); leave out what changes the network"


def _signal(error: BaseException) -> str:
    """How the worker ended; PyTorch hides the signal behind "exited unexpectedly" if it comes while a batch is read."""
    reports = f"{error.__cause__}\n{error}"
    found = re.search(r"killed by signal: [\w ]+", reports) or re.search(r"exited unexpectedly", reports)
    return f" ({found[0].rstrip()})" if found else ""


def _way_on(folder: Path) -> str:
    last = folder / "checkpoints" / "last.ckpt"
    return f"; resume={folder} goes on from the last checkpoint" if last.exists() else ""
