"""What happens when something on the page is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from lightvid.demo import holes
from lightvid.demo.guard import COOKIE
from lightvid.demo.holes import Painting
from lightvid.demo.job import restore_clip
from lightvid.demo.layout import FOLLOWS, Parts
from lightvid.demo.methods import Methods
from lightvid.demo.uploads import Limits, check_length, take_upload
from lightvid.demo.visits import Stopped, Visit, Visits
from lightvid.errors import DataError, LightvidError

Updates = dict[Any, Any]


def answer_mistakes(event: Callable[..., Updates]) -> Callable[..., Updates]:
    """Turn an error that the visitor can mend into a message on the page, without the server's paths."""

    @wraps(event)
    def answered(self: Events, *values: Any, **further: Any) -> Updates:
        try:
            return event(self, *values, **further)
        except LightvidError as error:
            text = re.sub(rf"{re.escape(str(self.visits.root))}/(?:[^\s:]*/)?", "", str(error))
            gr.Warning(text, duration=20, title="That does not work")
            return {self.parts.notice: f"**{text}**"}
        except Stopped:
            return {self.parts.notice: "Stopped."}

    return answered


class Events:
    """Each method takes the values of its inputs and gives new values of components.

    Args:
        visits: of the server.
        parts: of the page.
        methods: to fill holes, by name.
        limits: of clips.
        sample: a clip for all visitors.
    """

    def __init__(self, visits: Visits, parts: Parts, methods: Methods, limits: Limits, sample: Path | None) -> None:
        self.visits = visits
        self.parts = parts
        self.methods = methods
        self.limits = limits
        self.sample = sample

    def connect(self, page: gr.Blocks) -> None:
        """Bind the methods to what the visitor does."""
        parts = self.parts
        results = [parts.compared, parts.restored, parts.download]
        on_clip = [parts.notice, parts.number, parts.editor, *results]
        on_painting = [parts.notice, parts.editor]
        taken = parts.files.upload(self.take_upload, parts.files, on_clip)
        taken.then(lambda: None, None, parts.files, show_progress="hidden")  # ready for another
        parts.sample.click(self.take_sample, None, on_clip)
        parts.number.release(self.show, [parts.number, parts.editor], on_painting, show_progress="hidden")
        parts.add_box.click(self.add_box, [parts.editor, *parts.box], on_painting, show_progress="hidden")
        parts.forget.click(self.forget, None, on_painting, show_progress="hidden")
        parts.forget_all.click(self.forget_all, None, on_painting, show_progress="hidden")
        begun = parts.run.click(self.begin, parts.editor, [parts.notice, *results], show_progress="hidden")
        begun.then(
            self.run,
            [parts.motion, parts.dilate, parts.method],
            [parts.notice, *results],
            concurrency_limit=1,
            show_progress_on=parts.compared,
        )
        parts.stop.click(self.stop, None, parts.notice, show_progress="hidden")
        page.unload(self.leave)

    @answer_mistakes
    def take_upload(self, files: list[str], request: gr.Request) -> Updates:
        """A clip was uploaded."""
        visit = self._visit(request)
        take_upload(self.visits, visit, [Path(file) for file in files], self.limits)
        return self._first_frame(visit)

    @answer_mistakes
    def take_sample(self, request: gr.Request) -> Updates:
        """The sample clip is wanted."""
        if self.sample is None:
            raise DataError("there is no sample clip here: upload one")
        visit = self._visit(request)
        check_length(self.sample, self.limits)
        visit.open_clip(self.sample)
        return self._first_frame(visit)

    @answer_mistakes
    def show(self, number: int, painting: Painting | None, request: gr.Request) -> Updates:
        """Another frame is wanted; what was painted on the one before is kept."""
        visit = self._visit(request)
        holes.keep(visit, painting)
        visit.shown = min(max(int(number), 0), len(visit.chosen()) - 1)
        return self._painting(visit)

    @answer_mistakes
    def add_box(
        self, painting: Painting | None, x: int, y: int, width: int, height: int, request: gr.Request
    ) -> Updates:
        """A box was given for the frame that is shown."""
        visit = self._visit(request)
        holes.keep(visit, painting)
        holes.add_box(visit, (x, y, width, height))
        return self._painting(visit)

    @answer_mistakes
    def forget(self, request: gr.Request) -> Updates:
        """What was painted on the frame that is shown is to go."""
        visit = self._visit(request)
        holes.forget(visit, visit.shown)
        return self._painting(visit)

    @answer_mistakes
    def forget_all(self, request: gr.Request) -> Updates:
        """All that was painted is to go."""
        visit = self._visit(request)
        holes.forget(visit)
        return self._painting(visit)

    @answer_mistakes
    def begin(self, painting: Painting | None, request: gr.Request) -> Updates:
        """A job is asked for: keep what is painted, clear the last results."""
        visit = self._visit(request)
        holes.keep(visit, painting)
        holes.check_painted(visit)
        visit.wanted.set()
        return {self.parts.notice: "Waiting for a free place.", **self._no_results()}

    @answer_mistakes
    def run(
        self,
        motion: str,
        dilate: int,
        method: str,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how Gradio asks for it
    ) -> Updates:
        """Do the job, if `begin` has found all that it needs."""
        visit = self._visit(request)
        if not visit.wanted.is_set():
            return {self.parts.notice: gr.skip()}
        if method not in self.methods:
            raise DataError(f"no method '{method}': choose one of the list")
        result = restore_clip(
            visit,
            self.methods[method],
            follow=motion == FOLLOWS,
            dilate=min(max(int(dilate), 0), 100),
            report=lambda part, text: progress(part, desc=text),
        )
        return {
            self.parts.notice: "\n\n".join(["Done.", *result.notes]),
            self.parts.compared: str(result.compared),
            self.parts.restored: str(result.restored),
            self.parts.download: gr.DownloadButton(value=str(result.restored), interactive=True),
        }

    @answer_mistakes
    def stop(self, request: gr.Request) -> Updates:
        """The job is to end."""
        self._visit(request).wanted.clear()
        return {self.parts.notice: "Stopped."}

    def leave(self, request: gr.Request) -> None:
        """The page was closed or loaded again."""
        self.visits.close(str(request.session_hash))

    def _visit(self, request: gr.Request) -> Visit:
        return self.visits.of(str(request.session_hash), request.cookies.get(COOKIE, ""))

    def _first_frame(self, visit: Visit) -> Updates:
        clip = visit.chosen()
        height, width = clip.size()
        return {
            self.parts.number: gr.Slider(maximum=max(len(clip) - 1, 1), value=0, interactive=len(clip) > 1),
            **self._painting(visit),
            self.parts.notice: f"{len(clip)} frames of {width}x{height} pixels.",
            **self._no_results(),
        }

    def _painting(self, visit: Visit) -> Updates:
        numbers = ", ".join(str(number) for number in holes.painted(visit))
        notice = f"Painted on frame {numbers}." if numbers else "Nothing painted yet."
        return {self.parts.notice: notice, self.parts.editor: holes.shown_frame(visit)}

    def _no_results(self) -> Updates:
        return {
            self.parts.compared: None,
            self.parts.restored: None,
            self.parts.download: gr.DownloadButton(value=None, interactive=False),
        }
