"""The `lightvid` command: `lightvid COMMAND key=value ...`."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

import yaml

from lightvid.configuration import compose
from lightvid.errors import ConfigurationError, LightvidError, nearest
from lightvid.launch import is_main

COMMANDS = """\
usage: lightvid COMMAND [key=value ...]

commands:
  train      train a task, evaluate its best checkpoint and leave a run folder
  evaluate   measure a run again: lightvid evaluate run=runs/inpaint/NAME
  config     print the composed configuration and stop
  sweep      train with many values and compare: lightvid sweep inpaint --count 10 [--local]
  sample     write the sample data: lightvid sample [root=data/sample]

commands on files:
  inpaint       remove what masks mark from a video: lightvid inpaint VIDEO --masks MASKS -o OUT
  evaluate-inpaint  PSNR, SSIM, VFID, E_warp: lightvid evaluate-inpaint --frames ROOT --masks ROOT
  demo          a web page to try it: lightvid demo
  segment       find and track the instances of a video: lightvid segment VIDEO_OR_FOLDER -o OUT
  segment-vis   results and submission of a YouTube-VIS split: lightvid segment-vis valid.json -o OUT
  evaluate-vis  YouTube-VIS AP of a results file: lightvid evaluate-vis GT.json RESULTS.json
  export        a network as a torch.export program: lightvid export RUN -o FILE.pt2
  check-data    say what is in a dataset's folder, and what is wrong: lightvid check-data PATH
  split-vis     split a YouTube-VIS training file for local validation: lightvid split-vis ROOT
  write-shards  a dataset as tar shards, to be streamed: lightvid write-shards --data youtube_vos --root ROOT -o OUT

each command tells more of itself: lightvid COMMAND --help
LIGHTVID_TRACEBACK=1 in the environment shows where an error comes from.

"""
CHOICES = """\
choices (files of the configuration):
  task=inpaint|vis|joint  backbone=reversible  data=davis  trainer=gpu  paper=sttn  logger=tensorboard
other keys override one value each:
  data.root=/data/DAVIS  task.adversarial_weight=0.02  backbone.blocks=4  trainer.max_steps=5000  name=my-run
"""
OF_TRAIN = """\
and for train:
  resume=runs/inpaint/NAME    go on with a run from its last checkpoint
  config=FILE                 take a saved configuration whole
  init_from=CHECKPOINT        begin with what fits of a run of any task, or of NAME=FILE, a published checkpoint;
                              also --init-from CHECKPOINT
  compile=true                torch.compile the networks; also --compile
"""
HELP = {
    "train": "usage: lightvid train [key=value ...]\n\n" + CHOICES + OF_TRAIN,
    "config": "usage: lightvid config [key=value ...]\n\n" + CHOICES,
    "evaluate": """\
usage: lightvid evaluate run=RUN_FOLDER [checkpoint=best|last|FILE.ckpt] [key=value ...]

Measures a checkpoint of a run and prints the table; other keys override values of the run's configuration:
  lightvid evaluate run=runs/inpaint/NAME checkpoint=last data.root=/data/DAVIS
""",
    "sample": "usage: lightvid sample [root=data/sample]\n\nWrites the sample data.\n",
}


def main() -> None:
    """Run a command; a mistake of the user ends in one line and exit status 2."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(COMMANDS + CHOICES + OF_TRAIN, end="")
        return
    if arguments[0] in HELP and {"-h", "--help"} & set(arguments[1:]):
        print(HELP[arguments[0]], end="")
        return
    sys.path.append(os.getcwd())  # where class paths of one's own may lie
    for harmless in (
        "does not have many workers",
        "LeafSpec",
        "exists and is not empty",
        "used to create the checkpoint",
    ):
        warnings.filterwarnings("ignore", message=f".*{harmless}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(
        lambda record: "Tip:" not in record.getMessage()
    )
    logger = logging.getLogger("lightvid")
    logger.setLevel(logging.INFO if is_main() else logging.WARNING)
    logger.addHandler(logging.StreamHandler())
    try:
        _command(arguments[0])(arguments[1:])
    except LightvidError as error:
        if os.environ.get("LIGHTVID_TRACEBACK"):
            raise
        # An error of a data worker arrives with the worker's traceback; the last line is the message.
        message = str(error).strip().splitlines()[-1].removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")
        print(f"lightvid: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("lightvid: interrupted", file=sys.stderr)
        sys.exit(130)


def _command(name: str) -> Callable[[list[str]], None]:
    commands = {"train": _train, "evaluate": _evaluate, "config": _config, "sample": _sample}
    # Modules with a function `run`; imported only when they are asked for.
    on_files = {
        "inpaint": "lightvid.commands.inpaint",
        "evaluate-inpaint": "lightvid.commands.evaluate_inpaint",
        "demo": "lightvid.demo.command",
        "segment": "lightvid.commands.segment",
        "segment-vis": "lightvid.commands.segment_vis",
        "evaluate-vis": "lightvid.commands.evaluate_vis",
        "export": "lightvid.commands.export",
        "check-data": "lightvid.datamodules.checking",
        "split-vis": "lightvid.datamodules.splitting",
        "sweep": "lightvid.commands.sweep",
        "write-shards": "lightvid.datamodules.shards.writing",
    }
    if name in on_files:
        return lambda arguments: import_module(on_files[name]).run(arguments)
    if name not in commands:
        raise ConfigurationError(f"no command '{name}': {nearest(name, [*commands, *on_files])}")
    return commands[name]


def _train(arguments: list[str]) -> None:
    from lightvid.training import train

    train(_as_pairs(arguments))


def _as_pairs(arguments: list[str]) -> list[str]:
    """`--init-from X` and `--init-from=X` as `init_from=X`, `--compile` as `compile=true`."""
    rest = iter("compile=true" if argument == "--compile" else argument for argument in arguments)
    joined = [f"--init-from={next(rest, '')}" if argument == "--init-from" else argument for argument in rest]
    return [re.sub(r"^--init-from=", "init_from=", argument) for argument in joined]


def _evaluate(arguments: list[str]) -> None:
    from lightvid.training import evaluate

    evaluate(arguments)


def _config(arguments: list[str]) -> None:
    print(yaml.safe_dump(compose(arguments), sort_keys=False), end="")


def _sample(arguments: list[str]) -> None:
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := set(options) - {"root"}:
        raise ConfigurationError(f"unknown key '{unknown.pop()}' for sample: {nearest('', ['root'])}")
    print(import_module("lightvid.datamodules").make_sample_data(options.get("root", "data/sample")))
