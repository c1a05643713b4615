"""The page, used in a browser as a visitor does."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lightvid.checkpoints.building import build
from lightvid.video import open_video, write_png, write_video

pytest.importorskip("gradio", reason="the demo's packages are not installed (make demo-setup)")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
LENGTH, HEIGHT, WIDTH = 10, 64, 96
BOX = (36, 20, 24, 24)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1500"
)

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here")


def until(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of a square that stands before a texture that moves; files that are no clips; room for the server."""
    folder = tmp_path_factory.mktemp("page")
    texture = np.random.default_rng(0).uniform(0, 255, (HEIGHT, WIDTH + 4 * LENGTH, 3)).astype(np.float32)
    texture = np.clip((cv2.GaussianBlur(texture, (0, 0), 3) - 128) * 5 + 128, 0, 255).astype(np.uint8)
    for index in range(LENGTH):
        frame = texture[:, 4 * index : 4 * index + WIDTH].copy()
        frame[24:40, 40:56] = (250, 40, 40)
        write_png(folder / "clip" / f"{index}.png", frame)
    (folder / "false.mp4").write_text("this is not a video\n" * 100)
    (folder / "notes.txt").write_text("neither is this\n")
    (folder / "large.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(2**20))
    write_video(folder / "long.mp4", np.zeros((25, HEIGHT, WIDTH, 3), np.uint8), 25)
    for name in ("work", "downloads"):
        (folder / name).mkdir()
    save_run(folder / "runs" / "inpaint" / "small" / "checkpoints" / "best.ckpt")
    return folder


def save_run(file):
    """As `lightvid train` leaves it, of a network that fills holes with one colour."""
    convolutional = {"init_args": {"channels": 8}}
    mixer = {"class_path": "lightvid.attention.FullAttention"}
    parts = {
        "stem": {"class_path": "lightvid.stems.ConvStem", **convolutional},
        "backbone": {
            "class_path": "lightvid.backbone.SpatioTemporalTransformer",
            "init_args": {"channels": 8, "blocks": 1, "mixer": mixer},
        },
        "head": {"class_path": "lightvid.heads.ConvDecoder", **convolutional},
    }
    tree = {"class_path": "lightvid.networks.InpaintingGenerator", "init_args": parts}
    state = {f"network.{name}": torch.zeros_like(value) for name, value in build(tree).state_dict().items()}
    content = {"lightvid_config": {"task": {"init_args": {"network": tree}}}, "state_dict": state}
    file.parent.mkdir(parents=True)
    torch.save(content, file)


@pytest.fixture(scope="module")
def address(folder):
    command = "import sys; from lightvid.demo.command import run; run(sys.argv[1:])"
    log = folder / "log.txt"
    environment = {**os.environ, "TMPDIR": str(folder / "work"), "OMP_NUM_THREADS": "1"}
    with socket.socket() as reserved, log.open("w") as output:
        # Bound, and thus given to nobody else; with this option the server may listen at it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        options = ["--port", str(port), "--max-upload-mb", "1", "--max-frames", "20", "--sample", str(folder / "clip")]
        server = subprocess.Popen(
            [sys.executable, "-c", command, *options], cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            until(lambda: "the page is at" in log.read_text() or server.poll() is not None, "the server", 300)
            assert server.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(120) == 0
    assert not list((folder / "work").glob("lightvid-demo-*")), "a stopped server leaves nothing"
    assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def browser(folder, profile):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={folder / profile}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield Page(driver)
    finally:
        driver.quit()


class Page:
    """What a visitor can do."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get(address)
        until(lambda: self.driver.find_elements(By.ID, "sample"), "the page")

    def click(self, name):
        until(lambda: self.driver.find_element(By.ID, name).is_enabled(), name)
        self.driver.execute_script("arguments[0].scrollIntoView()", self.driver.find_element(By.ID, name))
        self.driver.find_element(By.ID, name).click()

    def notice(self, text, seconds=120):
        until(lambda: text in self.text("#notice"), f"'{text}' in the notice", seconds)

    def messages(self):
        return self.text("[class*=toast]")

    def text(self, selector):
        """Of all such elements; in one step, as the page changes while it is looked at."""
        script = "return [...document.querySelectorAll(arguments[0])].map(found => found.innerText).join(' ')"
        return self.driver.execute_script(script, selector)

    def upload(self, file):
        def choose():
            try:
                self.driver.find_element(By.CSS_SELECTOR, "#files input[type=file]").send_keys(str(file))
            except WebDriverException:  # the part is made anew after an upload
                return False
            return True

        until(choose, "the upload")

    def give_box(self, box):
        for field, value in zip(self.driver.find_elements(By.CSS_SELECTOR, "#box input"), box, strict=True):
            field.send_keys(Keys.CONTROL, "a")
            field.send_keys(str(value))
        self.click("add_box")

    def choose(self, name, choice):
        def pick():
            try:
                options = self.driver.find_elements(By.CSS_SELECTOR, f"#{name} [role=option]")
                next(option for option in options if choice in option.text).click()
            except (StopIteration, WebDriverException):  # the list fades in, or is made anew
                return False
            return True

        field = self.driver.find_element(By.CSS_SELECTOR, f"#{name} input")
        field.click()
        until(pick, choice)
        until(lambda: choice in field.get_property("value"), f"{choice} in {name}")

    def source(self, name):
        script = "return document.querySelector(arguments[0])?.src"
        return until(lambda: self.driver.execute_script(script, f"#{name} video"), name)

    def fetch(self, url):
        """Status of a request by this browser."""
        script = "const done = arguments[1]; fetch(arguments[0]).then(r => done(r.status), () => done(0))"
        return self.driver.execute_async_script(script, url)

    def requested(self):
        entries = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [entry["params"] for entry in entries if entry["method"] == "Network.requestWillBeSent"]
        return [entry["request"]["url"] for entry in sent if entry.get("documentURL", "").startswith("http")]


def status(url):
    """Of a request by a client that has loaded nothing."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def downloaded(folder):
    """The one file in a folder, once the browser has written it."""
    files = list(folder.iterdir())
    return files[0] if [file.suffix for file in files] == [".mp4"] and files[0].stat().st_size else None


def check_result(folder):
    file = until(lambda: downloaded(folder / "downloads"), "the download")
    clip, result = open_video(folder / "clip"), open_video(file)
    assert (len(result), result.size()) == (LENGTH, (HEIGHT, WIDTH))
    difference = np.abs(result.read(range(LENGTH)).astype(int) - clip.read(range(LENGTH)))
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[BOX[1] - 8 : BOX[1] + BOX[3] + 8, BOX[0] - 8 : BOX[0] + BOX[2] + 8] = True
    assert difference[:, 26:38, 42:54].mean() > 30, "the square is gone"
    assert difference[:, ~hole].mean() < 6, "all else is as it was, but for the encoding"


def check_grey_hole(url, folder):
    """What a network gives whose weights are all 0."""
    file = next((folder / "work").rglob(url.rpartition("/")[2]))
    left, top, width, height = BOX
    hole = open_video(file).read([3])[0][top + 4 : top + height - 4, left + 4 : left + width - 4]
    assert np.abs(hole.astype(int) - 127).max() < 8


def test_an_object_is_removed_and_nobody_else_sees_it(folder, address):
    with browser(folder, "anna") as anna:
        anna.open(address)
        anna.click("run")
        anna.notice("no clip yet")
        anna.click("sample")
        anna.notice(f"{LENGTH} frames of {WIDTH}x{HEIGHT}")
        anna.give_box(BOX)
        anna.notice("Painted on frame 0")
        anna.driver.find_elements(By.CSS_SELECTOR, "#motion input")[1].click()  # it stays where it is
        anna.click("run")
        anna.notice("Done", seconds=300)
        anna.click("download")
        check_result(folder)
        by_propagation = anna.source("restored")
        anna.choose("method", "run small")
        anna.click("run")
        until(lambda: anna.source("restored") != by_propagation, "the result of the checkpoint", 300)
        anna.notice("Done")
        check_grey_hole(anna.source("restored"), folder)

        result = anna.source("restored")
        own_folder = re.search(r"file=(.*)/result-", result)[1]
        assert anna.fetch(result) == 200
        assert anna.fetch(anna.source("compared")) == 200
        assert {urllib.parse.urlsplit(url).netloc for url in anna.requested() if url.startswith("http")} == {
            address.removeprefix("http://")
        }, "nothing is loaded from elsewhere"

        assert status(result) == 404
        with browser(folder, "bert") as bert:
            bert.open(address)
            assert bert.fetch(result) == 404
            for path in (own_folder, str(Path(own_folder).parent), "/etc/passwd", str(folder / "clip" / "0.png")):
                assert bert.fetch(f"{address}/gradio_api/file={path}") == 404
            refused_uploads(bert, folder)

        assert Path(own_folder).is_dir()
        anna.driver.get("about:blank")
        until(lambda: not Path(own_folder).exists(), "the files of a closed page to go")


def refused_uploads(page, folder):
    page.upload(folder / "notes.txt")
    until(lambda: "Invalid file type" in page.messages(), "a message")
    page.upload(folder / "false.mp4")
    page.notice("false.mp4: not what its name says")
    page.upload(folder / "long.mp4")
    page.notice("25 frames, at most 20")
    page.upload(folder / "large.mp4")
    until(lambda: "exceed the maximum allowed size of 1.0 Mb" in page.messages(), "a message")
