"""`lightvid evaluate-vis GT.json RESULTS.json`: the benchmark's numbers of a results file, and its submission."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lightvid.commands.arguments import Parser, positive
from lightvid.errors import ConfigurationError, DataError

if TYPE_CHECKING:
    from rich.table import Table

    from lightvid.metrics import YouTubeVISScores


def run(arguments: list[str]) -> None:
    """Write the submission where one is asked for, and print the numbers where the ground truth has annotations.

    Raises:
        ConfigurationError: unknown or missing arguments, or a file that cannot be written.
        DataError: a file is missing or damaged, a server would refuse the results, or there is nothing to compare with.
    """
    options = _parser().parse_args(arguments)
    from rich.console import Console

    from lightvid.annotations.results import category_names, load

    console = Console()
    truth = load(options.ground_truth)
    if options.submission:
        _submit(options.results, options.ground_truth, options.submission)
        console.print(f"submission: {options.submission}", soft_wrap=True)
        if truth.get("annotations") is None:
            console.print(f"no numbers: {options.ground_truth} has no annotations", soft_wrap=True)
            return
    from lightvid.metrics import evaluate_youtube_vis

    scores = evaluate_youtube_vis(
        options.ground_truth, options.results, as_benchmark=options.as_benchmark, processes=options.processes
    )
    names = category_names(truth)
    console.print(numbers_table(scores, f"{options.results.name} on {options.ground_truth.name}"))
    if options.per_category:
        console.print(category_table(scores, names))
    if options.json:
        content: dict[str, object] = dict(scores.numbers())
        if options.per_category:
            content["categories"] = {names[category]: numbers for category, numbers in scores.by_category().items()}
        _write(options.json, json.dumps(content, indent=1) + "\n")


def numbers_table(scores: YouTubeVISScores, title: str) -> Table:
    """The twelve numbers in percent, a dash where one is undefined."""
    from rich.box import SIMPLE
    from rich.table import Table

    numbers = scores.numbers()
    table = Table(title=title, box=SIMPLE, padding=(0, 1, 0, 0))  # fits 80 columns
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_row(*map(_percent, numbers.values()))
    return table


def category_table(scores: YouTubeVISScores, names: dict[int, str]) -> Table:
    """A row for each category that has ground truth, in the order of their ids."""
    from rich.box import SIMPLE
    from rich.table import Table

    columns = ("AP", "AP50", "AP75", "AR1", "AR10")
    table = Table("category", *columns, box=SIMPLE)
    for category, numbers in scores.by_category().items():
        if numbers["AP"] >= 0:
            table.add_row(names[category], *(_percent(numbers[name]) for name in columns))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _submit(results: Path, ground_truth: Path, submission: Path) -> None:
    from lightvid.annotations.results import read_results, validate_results, write_submission

    tracks = read_results(results)
    problems = validate_results(tracks, ground_truth)
    if problems:
        raise DataError(f"{results}: {len(problems)} of {len(tracks)} tracks that a server would refuse: {problems[0]}")
    try:
        write_submission(submission, tracks)
    except OSError as error:
        raise ConfigurationError(f"--submission {submission}: cannot be written ({error.strerror or error})") from None


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--json {file}: cannot be written ({error.strerror or error})") from None


def _percent(number: float) -> str:
    return f"{100 * number:.1f}" if number >= 0 else "-"


def _parser() -> Parser:
    parser = Parser(prog="lightvid evaluate-vis", description=__doc__, allow_abbrev=False)
    parser.add_argument("ground_truth", type=Path, metavar="GT", help="JSON file of the split, .json or .json.gz")
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results, .json or .json.gz, or a submission .zip"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers, in [0, 1], -1 where undefined")
    parser.add_argument("--per-category", action="store_true", help="also of each category alone")
    parser.add_argument("--submission", type=Path, metavar="ZIP", help="check the results and write the zip to upload")
    parser.add_argument(
        "--as-benchmark",
        action="store_true",
        help="evaluate what the published evaluation takes: short lists, masks of another size, unknown categories",
    )
    parser.add_argument(
        "--processes",
        type=positive,
        metavar="N",
        help="that share the videos; by default one for each core of large input",
    )
    return parser
