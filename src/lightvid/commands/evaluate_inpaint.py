"""`lightvid evaluate-inpaint`: PSNR, SSIM, VFID and E_warp of restored videos whose true frames are known."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightvid.commands.arguments import Parser, choose_device, count, name_and_file, size
from lightvid.errors import ConfigurationError

if TYPE_CHECKING:
    from lightvid.evaluation.clips import Clip
    from lightvid.evaluation.measuring import Evaluation, Rules

logger = logging.getLogger(__name__)

LEGACY = {
    "float": "the published blend before it is cut to whole grey levels (without: frames as they are written)",
    "ssim": "SSIM in a uniform window of 65x65 pixels with sample covariances (without: Gaussian, 11x11)",
    "mean": "PSNR and SSIM as means over all frames (without: means over videos of each video's mean)",
    "batchnorm": "I3D normalises by each video's own statistics and sees it whole (without: by the stored statistics,"
    " in overlapping chunks of 64 frames)",
    "occlusion": "E_warp counts pixels that the flow moves out of the frame (without: they are occluded)",
}
I3D_SOURCE = "i3d_rgb_imagenet.pt, which the release of E2FGVI has (github.com/MCG-NKU/E2FGVI)"


def run(arguments: list[str]) -> None:
    """Restore every clip, or read what was restored, and print and write the numbers.

    Args:
        arguments: of the command line, after `evaluate-inpaint`.

    Raises:
        LightvidError: a mistake in them, unreadable or unpaired files, an unsuitable checkpoint.
    """
    options = _parse(arguments)
    _check_outputs(options)
    from rich.console import Console

    from lightvid.evaluation import report
    from lightvid.evaluation.clips import find_clips
    from lightvid.evaluation.measuring import Evaluation
    from lightvid.evaluation.restorers import make_restorers
    from lightvid.inpainting.restorers import RestorerOptions

    clips = find_clips(
        options.frames, options.masks, pair=options.pair, only=options.only, size=options.size, dilate=options.dilate
    )
    rules = _rules(options)
    _check_sizes(clips, rules)
    restorers = make_restorers(
        clips,
        RestorerOptions(
            checkpoint=options.checkpoint,
            published=options.published,
            protocol=options.protocol or "default",
            device=choose_device(options.device),
            whole_frame=True,
        ),
        results=options.results,
        exact_blend="float" in options.legacy,
        baselines=options.baselines,
    )
    evaluation = Evaluation(rules)
    for clip in clips:
        evaluation.measure(clip, {name: restorer_of(clip) for name, restorer_of in restorers.items()})
    Console().print(report.table(evaluation, _title(options)))
    _explain(rules, clips)
    _write(options, evaluation)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = Parser(
        prog="lightvid evaluate-inpaint",
        description=f"{__doc__} Without a network or results it measures flow-guided propagation.",
        epilog="legacy choices, the papers' definitions:\n" + "\n".join(f"  {n:<10} {t}" for n, t in LEGACY.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--frames", type=Path, required=True, metavar="ROOT", help="a folder, zip or file per video")
    parser.add_argument(
        "--masks",
        type=Path,
        required=True,
        metavar="ROOT",
        help="per video a folder, zip or video of masks, or one image (NAME.png) for all of its frames",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", type=Path, metavar="FILE", help="of a run")
    source.add_argument(
        "--published",
        type=name_and_file,
        metavar="NAME=FILE",
        help="a published one, such as fuseformer=fuseformer.pth",
    )
    source.add_argument(
        "--results",
        type=Path,
        metavar="ROOT",
        help="frames that any program has restored, per video, taken as they are",
    )
    parser.add_argument(
        "--protocol",
        choices=("published", "default"),
        help="how a network sees a video (published)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (auto)")
    _add_data_options(parser)
    _add_metric_options(parser)
    options = parser.parse_args(arguments)
    if options.checkpoint or options.published:
        options.protocol = options.protocol or "published"
    elif options.protocol:
        parser.error("--protocol is for networks: give --checkpoint FILE or --published NAME=FILE")
    if "float" in options.legacy and options.protocol != "published":
        options.legacy.remove("float")
        logger.info("legacy choice float is left out: only networks by --protocol published have such a blend")
    return options


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--size", type=_size, default=(240, 432), metavar="WxH", help="to evaluate at, or native (432x240)"
    )
    parser.add_argument("--dilate", type=count, default=4, metavar="N", help="times a 3x3 cross widens the masks (4)")
    parser.add_argument(
        "--pair",
        choices=("name", "sorted"),
        default="name",
        help="masks with frames, by name or by sorted order (name)",
    )
    parser.add_argument("--only", type=_names, metavar="NAME,NAME", help="videos to evaluate")


def _add_metric_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--legacy",
        type=_legacy,
        default=set(LEGACY),
        metavar="all|none|NAME,...",
        help="as in the papers' tables (all)",
    )
    parser.add_argument("--i3d", type=Path, metavar="FILE", help=f"for VFID: {I3D_SOURCE}; holds a video in memory")
    parser.add_argument(
        "--flow",
        default="dis",
        metavar="dis|spynet=FILE|raft=FILE",
        help="for E_warp, named after it (dis: no weights)",
    )
    parser.add_argument(
        "--baselines", action="store_true", help="also the restorations without learning; each holds a clip in memory"
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all numbers and the settings")
    parser.add_argument("--csv", type=Path, metavar="OUT", help="write all numbers")


def _size(text: str) -> tuple[int, int] | None:
    """(height, width), or None to keep each video's."""
    return None if text == "native" else size(text)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names with a comma between them, got '{text}'")
    return names


def _legacy(text: str) -> set[str]:
    names = {"all": set(LEGACY), "none": set()}.get(text, set(text.split(",")))
    if unknown := sorted(names - set(LEGACY)):
        raise argparse.ArgumentTypeError(f"no choice '{unknown[0]}': all, none, or some of {', '.join(LEGACY)}")
    return names


def _check_outputs(options: argparse.Namespace) -> None:
    """Say before the work what would fail after it."""
    for option, file in (("--json", options.json), ("--csv", options.csv)):
        if file is None:
            continue
        if file.is_dir():
            raise ConfigurationError(f"{option} {file}: is a folder: give a file")
        is_new = not file.exists()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.open("a").close()
            if is_new:
                file.unlink()
        except OSError as error:
            raise ConfigurationError(f"{option} {file}: cannot be written ({error.strerror})") from None


def _rules(options: argparse.Namespace) -> Rules:
    import torch

    from lightvid.checkpoints import load_i3d
    from lightvid.evaluation.measuring import Rules
    from lightvid.metrics.flow_estimators import flow_estimator

    legacy, device = options.legacy, torch.device(choose_device(options.device))
    return Rules(
        ssim_window="uniform65" if "ssim" in legacy else "gaussian",
        averaging="frames" if "mean" in legacy else "videos",
        occlusion="published" if "occlusion" in legacy else "strict",
        whole_videos="batchnorm" in legacy,
        flow=flow_estimator(options.flow, device=device),
        i3d=load_i3d(options.i3d, batch_statistics="batchnorm" in legacy).to(device) if options.i3d else None,
        device=device,
    )


def _check_sizes(clips: list[Clip], rules: Rules) -> None:
    from lightvid.metrics.ssim import SIZES

    least = SIZES[rules.ssim_window]
    for clip in clips:
        if min(clip.size()) < least:
            raise ConfigurationError(
                f"{clip.frames.path}: frames of {_text(clip.size())} are smaller than SSIM's window, {least}x{least}:"
                " give a larger --size, or --legacy without ssim"
            )


def _explain(rules: Rules, clips: list[Clip]) -> None:
    if rules.i3d is None:
        logger.info("VFID is left out: --i3d takes %s", I3D_SOURCE)
    elif len(clips) < 2:
        logger.info("no VFID: it compares the spread of at least 2 videos")


def _write(options: argparse.Namespace, evaluation: Evaluation) -> None:
    from lightvid.evaluation.report import to_csv, to_json

    contents = {
        "--json": (options.json, to_json(evaluation, _settings(options))),
        "--csv": (options.csv, to_csv(evaluation)),
    }
    for option, (file, content) in contents.items():
        if file is None:
            continue
        try:
            file.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{option} {file}: cannot be written ({error.strerror})") from None


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The options as plain values."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    if options.published:
        plain["published"] = "{}={}".format(*options.published)
    return {**plain, "legacy": sorted(options.legacy), "size": _text(options.size)}


def _title(options: argparse.Namespace) -> str:
    """What the numbers depend on besides the restorer itself."""
    legacy = "all" if options.legacy == set(LEGACY) else ", ".join(sorted(options.legacy)) or "none"
    protocol = [f"protocol: {options.protocol}"] if options.protocol else []
    data = [f"{options.frames}, {_text(options.size)}", f"masks widened {options.dilate} times"]
    return "; ".join([*data, *protocol, f"legacy: {legacy}"])


def _text(pixels: tuple[int, int] | None) -> str:
    return "native" if pixels is None else f"{pixels[1]}x{pixels[0]}"
