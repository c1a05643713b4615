"""Jobs: one after the other, ended when their visitor wants no more, and leaving nothing behind."""

import secrets
import threading
import time

import numpy as np
import pytest

from lightvid.demo import job
from lightvid.demo.holes import add_box
from lightvid.demo.job import restore_clip
from lightvid.demo.visits import Stopped, Visits
from lightvid.errors import DataError
from lightvid.inpainting.restorers import RestorerOptions
from lightvid.video import open_video, write_video

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 32, 48, 3), np.uint8)
OPTIONS = {"follow": False, "dilate": 0, "report": lambda part, text: None}


class Greying:
    """Fills holes with grey, slowly, and knows how many of its kind are at work."""

    at_work = most_at_work = 0

    def restore(self, video, *, start=0):
        Greying.at_work += 1
        Greying.most_at_work = max(Greying.at_work, Greying.most_at_work)
        for index in range(start, len(video)):
            time.sleep(0.02)
            (frame,), (mask,) = video.read([index]).copy(), video.read_masks([index])
            frame[mask > 0] = 128
            yield frame
        Greying.at_work -= 1


@pytest.fixture
def visits(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "make_restorer", lambda options: Greying())
    monkeypatch.setattr(Greying, "at_work", 0)
    monkeypatch.setattr(Greying, "most_at_work", 0)
    write_video(tmp_path / "clip.mp4", FRAMES, 12)
    (tmp_path / "root").mkdir()
    return Visits(tmp_path / "root")


def visit_with_a_box(visits, page, box=(8, 8, 16, 16)):
    visit = visits.of(page, secrets.token_urlsafe(32))
    visit.open_clip(visits.root.parent / "clip.mp4")
    add_box(visit, box)
    visit.wanted.set()
    return visit


def test_a_job_gives_the_clip_restored_and_a_comparison(visits):
    result = restore_clip(visit_with_a_box(visits, "a"), RestorerOptions(), **OPTIONS)
    restored = open_video(result.restored)
    assert (len(restored), restored.size()) == (6, (32, 48))
    assert np.abs(restored.read([3])[0, 12:20, 12:20].astype(int) - 128).max() < 20
    assert open_video(result.compared).size() == (32, 3 * 48)


def test_jobs_of_two_visitors_run_one_after_the_other(visits):
    both = [visit_with_a_box(visits, page) for page in "ab"]
    threads = [threading.Thread(target=restore_clip, args=(v, RestorerOptions()), kwargs=OPTIONS) for v in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Greying.most_at_work == 1
    assert all(len(list(visit.folder.glob("result-*/restored.mp4"))) == 1 for visit in both)


def test_a_job_ends_when_its_visitor_wants_no_more(visits):
    visit = visit_with_a_box(visits, "a")
    with pytest.raises(Stopped):
        restore_clip(visit, RestorerOptions(), **OPTIONS | {"report": lambda part, text: part and visit.wanted.clear()})
    assert not list(visit.folder.glob("result-*/restored.mp4"))


def test_a_job_of_a_closed_page_ends_and_leaves_nothing(visits):
    visit = visit_with_a_box(visits, "a")
    with pytest.raises(Stopped):
        restore_clip(visit, RestorerOptions(), **OPTIONS | {"report": lambda part, text: part and visits.close("a")})
    assert list(visits.root.iterdir()) == []


def test_holes_that_leave_nothing_known_are_refused(visits):
    visit = visit_with_a_box(visits, "a", box=(0, 0, 48, 32))
    with pytest.raises(DataError, match="cover every frame whole"):
        restore_clip(visit, RestorerOptions(), **OPTIONS)
