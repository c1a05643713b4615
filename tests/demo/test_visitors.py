"""Visitors' files: what is taken, who may see them, when they go."""

import asyncio
import json
import secrets

import cv2
import numpy as np
import pytest

from lightvid.demo import visits as visits_module
from lightvid.demo.holes import add_box, forget, keep, painted, write_masks
from lightvid.demo.uploads import Limits, take_upload
from lightvid.demo.visits import Stopped, Visits
from lightvid.errors import DataError
from lightvid.video import write_png, write_video

ANNA, BERT = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
FRAMES = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8)
LIMITS = Limits(megabytes=1, frames=8, pixels=64 * 48)


@pytest.fixture
def visits(tmp_path):
    (tmp_path / "root").mkdir()
    return Visits(tmp_path / "root")


@pytest.fixture
def visit(visits):
    return visits.of("anna's page", ANNA)


def upload(visits, visitor, name, write):
    """A file as the server has it before an event: in a folder of its own."""
    file = visits.root / secrets.token_hex(8) / name
    file.parent.mkdir()
    write(file)
    visits.add_uploads(visitor, [file])
    return file


def video_of(frames):
    return lambda file: write_video(file, frames, 12)


def files_of(visits):
    return sorted(file.name for file in visits.root.rglob("*") if file.is_file())


def test_a_video_is_moved_to_its_visitor_and_opened(visits, visit):
    clip = take_upload(visits, visit, [upload(visits, ANNA, "walk.mp4", video_of(FRAMES))], LIMITS)
    assert (len(clip), clip.size()) == (6, (48, 64))
    assert list(visits.root.rglob("*.mp4")) == [visit.clip_path]
    assert visit.folder in visit.clip_path.parents


def test_images_are_a_clip_in_the_order_of_their_numbers(visits, visit):
    images = [upload(visits, ANNA, f"{n}.png", lambda file, n=n: write_png(file, FRAMES[n])) for n in (2, 0, 1)]
    clip = take_upload(visits, visit, images, LIMITS)
    assert np.array_equal(clip.read([0, 1, 2]), FRAMES[:3])


def text(file):
    file.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")


def large_picture(file):
    write_png(file, np.zeros((48, 65, 3), np.uint8))


@pytest.mark.parametrize(
    ("names", "write", "message"),
    [
        (["notes.txt"], text, "expected a video"),
        (["clip.mp4"], text, "not what its name says"),
        (["clip.png"], text, "not what its name says"),
        (["clip.webm"], video_of(FRAMES), "expected a video"),
        (["clip.mp4"], video_of(np.concatenate([FRAMES, FRAMES])), "12 frames, at most 8"),
        (["clip.mp4"], video_of(np.zeros((2, 64, 64, 3), np.uint8)), "64x64 pixels, at most 3072"),
        (["clip.png"], large_picture, "65x48 pixels, at most 3072"),
        (["a.png", "b.mp4"], text, "not what its name says"),
        (["clip.mp4"], lambda file: file.write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 2**20), "too large: at most 1 MB"),
    ],
)
def test_what_is_no_clip_or_too_large_is_refused_and_deleted(visits, visit, names, write, message):
    if names == ["clip.webm"]:
        write_as_mp4 = write
        write = lambda file: (write_as_mp4(file.with_suffix(".mp4")), file.with_suffix(".mp4").rename(file))  # noqa: E731
    files = [upload(visits, ANNA, name, write) for name in names]
    with pytest.raises(DataError, match=message):
        take_upload(visits, visit, files, LIMITS)
    assert files_of(visits) == []


def test_only_the_own_uploads_are_taken(visits, visit, tmp_path):
    berts = upload(visits, BERT, "clip.mp4", video_of(FRAMES))
    write_video(tmp_path / "on_the_server.mp4", FRAMES, 12)
    for file in (berts, tmp_path / "on_the_server.mp4"):
        with pytest.raises(DataError, match="not uploaded here"):
            take_upload(visits, visit, [file], LIMITS)
        assert file.exists()


def test_folders_have_names_that_cannot_be_guessed_and_belong_to_one_browser(visits, visit):
    other = visits.of("bert's page", BERT)
    assert len({visit.folder.name, other.folder.name}) == 2
    assert len(visit.folder.name) == 32
    assert visits.owns(ANNA, visit.folder / "result.mp4")
    assert not visits.owns(BERT, visit.folder / "result.mp4")
    assert not visits.owns(ANNA, visit.folder / ".." / other.folder.name / "result.mp4")
    with pytest.raises(DataError, match="belongs to another browser"):
        visits.of("anna's page", BERT)
    with pytest.raises(DataError, match="cookie"):
        visits.of("a third page", "")


def test_a_closed_page_leaves_nothing_and_stops_its_job(visits, visit):
    take_upload(visits, visit, [upload(visits, ANNA, "clip.mp4", video_of(FRAMES))], LIMITS)
    upload(visits, ANNA, "never taken.mp4", video_of(FRAMES))
    visit.wanted.set()
    visit.go_on()
    visits.close("anna's page")
    with pytest.raises(Stopped):
        visit.go_on()
    assert files_of(visits) == []
    assert list(visits.root.iterdir()) == []


def test_what_two_browsers_have_uploaded_stays_until_both_have_left(visits, visit):
    visits.of("bert's page", BERT)
    file = upload(visits, ANNA, "same.mp4", video_of(FRAMES))
    visits.add_uploads(BERT, [file])
    visits.close("anna's page")
    assert file.exists()
    visits.close("bert's page")
    assert not file.exists()


def test_idle_pages_and_abandoned_uploads_are_swept_away(visits, visit, monkeypatch):
    upload(visits, BERT, "abandoned.mp4", video_of(FRAMES))
    visits.sweep()
    assert visit.folder.exists()
    assert files_of(visits) == ["abandoned.mp4"]
    monkeypatch.setattr(visits_module, "ABANDONED", -1)
    visits.sweep()
    assert files_of(visits) == []
    monkeypatch.setattr(visits_module, "IDLE", -1)
    visits.sweep()
    assert not visit.folder.exists()


def test_painted_holes_add_up_and_are_forgotten_by_frame(visits, visit):
    take_upload(visits, visit, [upload(visits, ANNA, "clip.mp4", video_of(FRAMES))], LIMITS)
    stroke = np.zeros((48, 64, 4), np.uint8)
    stroke[10:12, 20:22, 3] = 153
    keep(visit, {"background": None, "layers": [stroke], "composite": None})
    add_box(visit, (0, 0, 4, 3))
    assert np.count_nonzero(painted(visit)[0]) == 4 + 12
    visit.shown = 5
    add_box(visit, (60, 40, 4, 8))
    same_everywhere = cv2.imread(str(write_masks(visit, follow=False)), cv2.IMREAD_GRAYSCALE)
    assert np.count_nonzero(same_everywhere) == 4 + 12 + 32
    forget(visit, 0)
    assert list(painted(visit)) == [5]
    with pytest.raises(DataError, match="not inside the frame"):
        add_box(visit, (60, 40, 5, 8))
    forget(visit)
    with pytest.raises(DataError, match="nothing to remove yet"):
        write_masks(visit, follow=True)


def test_following_gives_a_mask_for_every_frame(visits, visit):
    take_upload(visits, visit, [upload(visits, ANNA, "clip.mp4", video_of(FRAMES[:2]))], LIMITS)
    add_box(visit, (20, 20, 16, 16))
    visit.wanted.set()
    assert sorted(file.name for file in write_masks(visit, follow=True).iterdir()) == ["00000.png", "00001.png"]


class Site:
    """The guard before an application that answers everything, asked without a network."""

    def __init__(self, visits, **options):
        guard = pytest.importorskip("lightvid.demo.guard", reason="the demo's packages are not installed")
        self.guard = guard.VisitorGuard(self.application, visits=visits, max_bytes=1000, **options)
        self.answer = b"[]"

    async def application(self, scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.answer})

    def ask(self, path, *, method="GET", visitor="", host="127.0.0.1", body=(b"",), length=None):
        headers = [(b"host", host.encode())]
        headers += [(b"cookie", f"lightvid_visitor={visitor}".encode())] if visitor else []
        headers += [(b"content-length", str(length).encode())] if length else []
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
        parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
        parts.append({"type": "http.request", "body": b"", "more_body": False})
        sent = []

        async def receive():
            return parts.pop(0)

        async def send(message):
            sent.append(message)

        asyncio.run(self.guard(scope, receive, send))
        return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


def test_a_new_visitor_gets_a_token_that_scripts_and_other_sites_cannot_use(visits):
    status, headers = Site(visits).ask("/")
    assert status == 200
    assert all(word in headers["set-cookie"] for word in ("lightvid_visitor=", "HttpOnly", "SameSite=Strict"))
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "set-cookie" not in Site(visits).ask("/", visitor=ANNA)[1]


def test_files_are_served_to_their_browser_alone(visits, visit):
    site, file = Site(visits), f"/gradio_api/file={visit.folder}/result.mp4"
    assert site.ask(file, visitor=ANNA)[0] == 200
    assert site.ask(file, visitor=BERT)[0] == 404
    assert site.ask(file)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={root}",
        "/gradio_api/file={folder}/../../outside",
        "/gradio_api/file=http://example.org/",
        "/gradio_api/proxy=http://example.org/",
        "/gradio_api/runs",
        "/monitoring",
        "/gradio_api/stream/x",
        "/login",
    ],
)
def test_other_files_and_routes_are_not_there(visits, visit, path):
    assert Site(visits).ask(path.format(root=visits.root, folder=visit.folder), visitor=ANNA)[0] == 404


def test_too_large_requests_are_refused_whatever_they_say_of_their_length(visits):
    site = Site(visits)
    assert site.ask("/gradio_api/upload", method="POST", visitor=ANNA, length=1001)[0] == 413
    assert site.ask("/gradio_api/upload", method="POST", visitor=ANNA, body=[b"x" * 600] * 2)[0] == 413
    assert site.ask("/gradio_api/upload", method="POST", visitor=ANNA, body=[b"x" * 600])[0] == 200


def test_nothing_is_taken_from_who_has_not_loaded_the_page(visits):
    assert Site(visits).ask("/gradio_api/upload", method="POST")[0] == 403
    assert Site(visits).ask("/gradio_api/queue/join", method="POST", visitor="short")[0] == 403


def test_uploads_are_noted_for_who_has_sent_them(visits):
    site, file = Site(visits), visits.root / "0123" / "clip.mp4"
    site.answer = json.dumps([str(file)]).encode()
    site.ask("/gradio_api/upload", method="POST", visitor=ANNA)
    assert visits.has_uploaded(ANNA, file)
    assert not visits.has_uploaded(BERT, file)


def test_a_local_page_is_served_under_local_names_alone(visits):
    site = Site(visits, hosts=("127.0.0.1", "localhost"))
    assert site.ask("/", host="localhost:7860")[0] == 200
    assert site.ask("/", host="rebound.example.org")[0] == 421
