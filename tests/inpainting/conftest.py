"""Fixtures of the inpaint command's tests."""

import pytest
from media_files import Greying, squares, texture, write_images

from lightvid.commands.inpaint import run
from lightvid.errors import LightvidError

LENGTH = 20


@pytest.fixture
def frames():
    return texture(LENGTH)


@pytest.fixture
def masks():
    return squares(LENGTH)


@pytest.fixture
def clip(tmp_path, frames):
    """A folder of frames."""
    return write_images(tmp_path / "clip", frames)


@pytest.fixture
def mask_folder(tmp_path, masks):
    return write_images(tmp_path / "masks", masks)


@pytest.fixture
def greying(monkeypatch):
    """The command works with this restorer, and `greying.options` are what it was asked for."""
    restorer = Greying()

    def make(options):
        restorer.options = options
        return restorer

    monkeypatch.setattr("lightvid.inpainting.restorers.make_restorer", make)
    return restorer


@pytest.fixture
def refused(tmp_path, greying):
    """Runs the command, and gives its one line of refusal, when OUT and its work folder are not there."""

    def refusal(*arguments, out="out.mp4", **options):
        with pytest.raises(LightvidError) as error:
            run([*map(str, arguments), "-o", str(tmp_path / out)])
        assert "\n" not in str(error.value)
        assert not (tmp_path / out).exists() or options.get("kept")
        assert not list(tmp_path.rglob("*.partial*"))
        return str(error.value)

    return refusal
