"""The numbers of an evaluation as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lightvid.metrics.video_quality import WARP_ERROR

if TYPE_CHECKING:
    from rich.table import Table

    from lightvid.evaluation.measuring import Evaluation

Row = tuple[str, str, int, dict[str, float]]

WARP_SCALE = 100
"""Factor of E_warp in the table, as in the papers'; files hold the number itself."""


def table(evaluation: Evaluation, title: str) -> Table:
    """A row for each video of the first method, then the mean of every method; fits 80 columns."""
    from rich.box import SIMPLE
    from rich.table import Table

    everything = rows(evaluation)
    names = list(everything[-1][3])
    first = next(iter(evaluation.methods))
    caption = ", ".join(f"E_warp x{WARP_SCALE}, flow: {_flow(name)}" for name in names if _flow(name))
    result = Table(title=title, caption=caption, box=SIMPLE, padding=(0, 1, 0, 0))
    result.add_column("", overflow="fold")
    for heading in ("frames", *(_heading(name) for name in names)):
        result.add_column(heading, justify="right", no_wrap=True)
    for method, video, frames, numbers in everything:
        if video != "mean" and method != first:
            continue
        cells = (_number(name, numbers.get(name, math.nan)) for name in names)
        style, end = ("bold", method == first) if video == "mean" else ("", False)
        label = f"mean, {method}" if video == "mean" else video
        result.add_row(label, str(frames), *cells, style=style, end_section=end)
    return result


def rows(evaluation: Evaluation) -> list[Row]:
    """Method, video or "mean", frames and numbers, in order."""
    found: list[Row] = []
    means = evaluation.means()
    for method, scores in evaluation.methods.items():
        counts = {video: numbers["psnr"].count for video, numbers in scores.videos.items()}
        for video, numbers in scores.videos.items():
            found.append((method, video, counts[video], {name: mean.value for name, mean in numbers.items()}))
        found.append((method, "mean", sum(counts.values()), means[method]))
    return found


def to_json(evaluation: Evaluation, settings: Mapping[str, Any]) -> str:
    """`{"settings": ..., "methods": {NAME: {"mean": numbers, "videos": {NAME: numbers}}}}`; null where undefined."""
    methods: dict[str, dict[str, Any]] = {}
    for method, video, frames, numbers in rows(evaluation):
        plain = {name: None if math.isnan(value) else value for name, value in numbers.items()}
        entry = methods.setdefault(method, {"mean": {}, "videos": {}})
        if video == "mean":
            entry["mean"] = {"frames": frames, **plain}
        else:
            entry["videos"][video] = {"frames": frames, **plain}
    return json.dumps({"settings": dict(settings), "methods": methods}, indent=1) + "\n"


def to_csv(evaluation: Evaluation) -> str:
    """A line for each method and video, and one for each method's mean; empty where undefined."""
    everything = rows(evaluation)
    names = list(everything[-1][3])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "video", "frames", *names])
    for method, video, frames, numbers in everything:
        values = (numbers.get(name, math.nan) for name in names)
        writer.writerow([method, video, frames, *("" if math.isnan(value) else value for value in values)])
    return text.getvalue()


def _flow(name: str) -> str:
    """The flow of an E_warp; empty for the other numbers."""
    return name.removeprefix(f"{WARP_ERROR}_") if name.startswith(WARP_ERROR) else ""


def _heading(name: str) -> str:
    return {"psnr": "PSNR", "ssim": "SSIM", "hole_psnr": "hole PSNR", "vfid": "VFID"}.get(name, "E_warp")


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    if _flow(name):
        return f"{WARP_SCALE * value:.4f}"
    return {"psnr": f"{value:.2f}", "hole_psnr": f"{value:.2f}", "vfid": f"{value:.3f}"}.get(name, f"{value:.4f}")
