"""What is on the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from lightvid.demo import holes
from lightvid.demo.uploads import ACCEPTED, Limits

STAYS, FOLLOWS = "the hole stays where it is", "the hole follows the object"
TITLE = "Remove objects from a clip"
STYLE = """
.gradio-container {max-width: 1200px !important; margin: auto}
footer {display: none !important}
"""


@dataclass(frozen=True)
class Parts:
    """The components that events read or change."""

    files: gr.File
    sample: gr.Button
    notice: gr.Markdown
    number: gr.Slider
    editor: gr.ImageEditor
    box: list[gr.Number]
    add_box: gr.Button
    forget: gr.Button
    forget_all: gr.Button
    motion: gr.Radio
    dilate: gr.Slider
    method: gr.Dropdown
    run: gr.Button
    stop: gr.Button
    compared: gr.Video
    restored: gr.Video
    download: gr.DownloadButton


def lay_out(methods: list[str], limits: Limits, sample: Path | None) -> Parts:
    """Make the components, within a page that is being built."""
    gr.Markdown(
        f"# {TITLE}\nUp to {limits.megabytes} MB and {limits.frames} frames. What you upload is shown in this browser"
        " alone, and deleted when you close or reload the page."
    )
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            source = _source(sample)
            options = _options(methods)
        with gr.Column(scale=2, min_width=480):
            painting = _painting()
    return Parts(**source, **painting, **options, **_results())


def _source(sample: Path | None) -> dict[str, gr.Component]:
    files = gr.File(
        label="1. A video, or the images of a clip",
        file_count="multiple",
        file_types=list(ACCEPTED),
        height=140,
        elem_id="files",
    )
    take_sample = gr.Button("take the sample clip", visible=sample is not None, elem_id="sample")
    return {"files": files, "sample": take_sample, "notice": gr.Markdown("No clip yet.", elem_id="notice")}


def _painting() -> dict[str, gr.Component | list[gr.Number]]:
    colour = "#{:02x}{:02x}{:02x}".format(*holes.COLOUR)
    editor = gr.ImageEditor(
        label="2. Paint closely over the object, on one frame or on several",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(default_size="auto", colors=[(colour, holes.OPACITY)], color_mode="fixed"),
        format="png",
        buttons=[],
        height=460,
        elem_id="editor",
    )
    number = gr.Slider(0, 1, value=0, step=1, label="frame", interactive=False, elem_id="number")
    with gr.Row(elem_id="box"):
        names = ("x", "y", "width", "height")
        box = [gr.Number(0, label=f"box: {name}", precision=0, minimum=0, min_width=70) for name in names]
    with gr.Row():
        add_box = gr.Button("add the box", elem_id="add_box")
        forget = gr.Button("clear this frame", elem_id="forget")
        forget_all = gr.Button("clear all frames", elem_id="forget_all")
    buttons = {"add_box": add_box, "forget": forget, "forget_all": forget_all}
    return {"editor": editor, "number": number, "box": box, **buttons}


def _options(methods: list[str]) -> dict[str, gr.Component]:
    motion = gr.Radio([FOLLOWS, STAYS], value=FOLLOWS, label="3. Over time", elem_id="motion")
    dilate = gr.Slider(0, 30, value=4, step=1, label="grow the holes by (pixels)", elem_id="dilate")
    method = gr.Dropdown(methods, value=methods[0], label="fill them", elem_id="method")
    with gr.Row():
        run = gr.Button("4. remove", variant="primary", elem_id="run")
        stop = gr.Button("stop", elem_id="stop")
    return {"motion": motion, "dilate": dilate, "method": method, "run": run, "stop": stop}


def _results() -> dict[str, gr.Component]:
    compared = gr.Video(
        label="source, holes, result", interactive=False, autoplay=True, loop=True, buttons=[], elem_id="compared"
    )
    with gr.Row():
        restored = gr.Video(
            label="result", interactive=False, loop=True, buttons=[], scale=2, height=320, elem_id="restored"
        )
        with gr.Column(scale=1):
            gr.Markdown("The file has the size, the timing and the sound of the clip.")
            download = gr.DownloadButton("download the result", interactive=False, elem_id="download")
    return {"compared": compared, "restored": restored, "download": download}
