"""What a clip gives is the same whatever it is stored in, and what is broken is named."""

import pickle
import shutil
import zipfile
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from lightvid.errors import DataError
from lightvid.video import files, open_video, write_video

COUNT, HEIGHT, WIDTH = 40, 48, 64
SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def numbered_frames(count: int = COUNT) -> np.ndarray:
    """Frames that carry their number as black and white blocks, which survive lossy coding."""
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    for number, frame in enumerate(frames):
        for bit in range(8):
            frame[:, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    bits = frames[:, HEIGHT // 2, 4::8, 0] > 127
    return [int((row * 2 ** np.arange(8)).sum()) for row in bits]


def write_folder(path: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    path.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(path / f"{number:05d}{suffix}"), frame[..., ::-1])
    return path


def write_zip(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def one_line(error: pytest.ExceptionInfo[DataError], *parts: str) -> bool:
    message = str(error.value)
    return "\n" not in message and all(part in message for part in parts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "clip", numbered_frames())


@pytest.fixture(params=["mpeg4", "libx264"])
def mp4(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Also with frames that are stored in another order than shown, and key frames far apart."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(request.param, rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = 12
        for frame in numbered_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_folder_and_its_zip_give_the_same_frames(folder):
    unzipped, zipped = open_video(folder), open_video(write_zip(folder))
    wanted = [7, 0, 31, 7]
    assert unzipped.name == zipped.name == "clip"
    assert unzipped.frame_names == zipped.frame_names
    assert numbers(unzipped.read(wanted)) == wanted
    np.testing.assert_array_equal(unzipped.read(wanted), zipped.read(wanted))
    np.testing.assert_array_equal(unzipped.read(wanted), numbered_frames()[wanted])


def test_a_video_file_gives_exactly_the_frames_asked_for_in_any_order(mp4):
    video = open_video(mp4)
    wanted = [int(i) for i in np.random.default_rng(0).permutation(COUNT)]
    assert (len(video), video.size()) == (COUNT, (HEIGHT, WIDTH))
    assert numbers(video.read(wanted)) == wanted
    assert numbers(video.read([39, 3, 3])) == [39, 3, 3]


def test_decord_and_pyav_agree(mp4):
    pytest.importorskip("decord")
    wanted = [30, 2, 3, 17, 39, 0]
    assert numbers(files._read_with_pyav(mp4, wanted)) == wanted
    difference = files._read_with_decord(mp4, wanted).astype(int) - files._read_with_pyav(mp4, wanted)
    assert np.abs(difference).max() <= 2


def test_without_decord_a_video_file_is_read_all_the_same(mp4, monkeypatch):
    monkeypatch.setattr(files, "decord", None)
    assert numbers(open_video(mp4).read([25, 4])) == [25, 4]


def test_a_video_can_be_sent_to_another_process(folder):
    video = pickle.loads(pickle.dumps(open_video(folder)))
    assert numbers(video.read([5])) == [5]


def test_a_palette_mask_is_read_as_instance_numbers_not_colours(tmp_path):
    (tmp_path / "masks").mkdir()
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(mask)
    image.putpalette([200, 10, 90] * 256)
    image.save(tmp_path / "masks/00000.png")
    np.testing.assert_array_equal(open_video(tmp_path / "masks").read_masks([0])[0], mask)


def test_reduced_decoding_keeps_at_least_the_size_asked_for(tmp_path):
    frames = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (1, 240, 320, 3), np.uint8)[0], (0, 0), 12)
    video = open_video(write_folder(tmp_path / "clip", frames[None], ".jpg"))
    assert video.size() == (240, 320)
    assert video.read([0]).shape == (1, 240, 320, 3)
    assert video.read([0], reduce_to=(121, 10)).shape[1:3] == (240, 320)
    assert video.read([0], reduce_to=(120, 160)).shape[1:3] == (120, 160)
    assert video.read([0], reduce_to=(50, 60)).shape[1:3] == (60, 80)
    exact = cv2.resize(video.read([0])[0], (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(video.read([0], reduce_to=(120, 160))[0].astype(int) - exact).mean() < 1.5


def test_a_corrupt_or_cut_off_frame_is_named(tmp_path):
    folder = write_folder(tmp_path / "clip", numbered_frames(3), ".jpg")
    whole = (folder / "00001.jpg").read_bytes()
    for content in (b"not an image", b"", whole[: len(whole) // 2], whole[:10]):
        (folder / "00001.jpg").write_bytes(content)
        for options in ({}, {"reduce_to": (8, 8)}):
            with pytest.raises(DataError) as error:
                open_video(folder).read([0, 1], **options)
            assert one_line(error, "00001.jpg", "corrupt frame")


def with_thumbnail(content: bytes, thumbnail: bytes) -> bytes:
    """A JPEG with another one in its application data, as cameras write it."""
    return content[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + content[2:]


def test_what_follows_the_end_of_a_jpeg_does_not_matter(tmp_path):
    folder = write_folder(tmp_path / "clip", numbered_frames(3), ".jpg")
    whole = (folder / "00001.jpg").read_bytes()
    for trailer in (bytes(1), bytes(10_000), b"\xff" * 10_000, whole * 20):
        (folder / "00001.jpg").write_bytes(whole + trailer)
        assert numbers(open_video(folder).read([0, 1])) == [0, 1]


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_frame(tmp_path):
    folder = write_folder(tmp_path / "clip", numbered_frames(3), ".jpg")
    whole = (folder / "00001.jpg").read_bytes()
    framed = with_thumbnail(whole, whole)
    (folder / "00001.jpg").write_bytes(framed)
    assert numbers(open_video(folder).read([1])) == [1]
    for end in (-2, -1, -100):
        (folder / "00001.jpg").write_bytes(framed[:end])
        with pytest.raises(DataError) as error:
            open_video(folder).read([1])
        assert one_line(error, "00001.jpg", "cut off")


def test_a_progressive_jpeg_without_its_last_scan_is_cut_off(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.jpg"), numbered_frames(2)[1], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    whole = (folder / "0.jpg").read_bytes()
    assert whole.count(b"\xff\xda") > 2 and open_video(folder).read([0]).shape[0] == 1
    (folder / "0.jpg").write_bytes(whole[: whole.rindex(b"\xff\xda")])
    with pytest.raises(DataError, match=r"0\.jpg: corrupt frame \(the JPEG is cut off\)"):
        open_video(folder).read([0])


@pytest.mark.parametrize("zipped", [False, True])
def test_frames_are_ordered_by_the_value_of_their_numbers(tmp_path, zipped):
    folder = tmp_path / "clip"
    folder.mkdir()
    written = [f"shot2_frame{number}.png" for number in range(12)] + ["shot10_frame3.png"]
    for name, frame in zip(written, numbered_frames(), strict=False):
        cv2.imwrite(str(folder / name), frame)
    for video in (open_video(write_zip(folder) if zipped else folder), open_video(folder)):
        assert video.frame_names == written
        assert numbers(video.read(range(13))) == list(range(13))


def test_names_of_the_same_value_keep_one_order(tmp_path):
    for order in ((0, 1, 2), (2, 0, 1)):
        path = tmp_path / "clip.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for index in order:
                archive.writestr(("1.png", "01.png", "b.png")[index], b"")
        assert open_video(path).frame_names == ["01.png", "1.png", "b.png"]


def test_a_corrupt_mask_is_named(tmp_path):
    folder = write_folder(tmp_path / "masks", numbered_frames(2))
    (folder / "00001.png").write_bytes((folder / "00001.png").read_bytes()[:60])
    with pytest.raises(DataError) as error:
        open_video(folder).read_masks([1])
    assert one_line(error, "00001.png", "corrupt mask")


def test_a_broken_zip_is_named(tmp_path, folder):
    path = write_zip(folder)
    video = open_video(path)
    path.write_bytes(path.read_bytes()[:200])
    for attempt in (lambda: open_video(path), lambda: video.read([0])):
        with pytest.raises(DataError) as error:
            attempt()
        assert one_line(error, "clip.zip", "unreadable zip")


@pytest.mark.parametrize("packing", ["ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA", "ZIP_STORED"])
def test_a_corrupt_file_in_a_zip_is_named(tmp_path, packing):
    path = tmp_path / "clip.zip"
    with zipfile.ZipFile(path, "w", getattr(zipfile, packing)) as archive:
        archive.writestr("00000.png", bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    start = 30 + len("00000.png")  # of the data, after the header
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)
    for attempt in (lambda video: video.read([0]), lambda video: video.read_masks([0]), lambda video: video.size()):
        with pytest.raises(DataError) as error:
            attempt(open_video(path))
        assert one_line(error, "clip.zip/00000.png", "cannot be unpacked")


@pytest.mark.parametrize(("field", "value", "reason"), [(8, 1, "encrypted"), (10, 99, "compression")])
def test_an_encrypted_or_unknown_file_in_a_zip_is_named(folder, field, value, reason):
    path = write_zip(folder)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + field] = value  # the first file's entry in the directory
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        open_video(path).read([1, 0])
    assert one_line(error, "clip.zip/00000.png", reason)


def test_a_file_missing_in_a_zip_is_named(folder):
    video = open_video(write_zip(folder))
    (folder / "00003.png").unlink()
    write_zip(folder)
    with pytest.raises(DataError) as error:
        video.read([2, 3])
    assert one_line(error, "clip.zip", "00003.png")


def test_a_frame_deleted_since_is_named(folder):
    video = open_video(folder)
    (folder / "00003.png").unlink()
    with pytest.raises(DataError) as error:
        video.read([3])
    assert one_line(error, "00003.png")


def test_what_is_no_video_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "notes.txt").write_text("no video")
    write_video(tmp_path / "whole.mp4", numbered_frames(5), 24)
    shutil.copy(tmp_path / "whole.mp4", tmp_path / "cut.mp4")
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:100])
    for name, reason in {
        "empty": "no frames",
        "text.mp4": "not a video",
        "cut.mp4": "not a video",
        "notes.txt": "not a video",
        "missing": "no such video",
    }.items():
        with pytest.raises(DataError) as error:
            open_video(tmp_path / name)
        assert one_line(error, name, reason)


def test_a_damaged_video_file_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (30, HEIGHT, WIDTH, 3), np.uint8)
    write_video(tmp_path / "clip.mp4", noise, 24)
    content = bytearray((tmp_path / "clip.mp4").read_bytes())
    content[len(content) // 3 : len(content) * 2 // 3] = bytes(len(content) * 2 // 3 - len(content) // 3)
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(DataError) as error:
        open_video(tmp_path / "clip.mp4").read([2, 15])
    assert one_line(error, "clip.mp4", "corrupt frame 15")


def test_frames_of_different_sizes_are_named(folder):
    cv2.imwrite(str(folder / "00002.png"), np.zeros((HEIGHT, WIDTH + 2, 3), np.uint8))
    with pytest.raises(DataError) as error:
        open_video(folder).read([1, 2])
    assert one_line(error, "00002.png", f"{WIDTH}x{HEIGHT}", f"{WIDTH + 2}x{HEIGHT}")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the clips in ../shared/data")
def test_a_real_video_file_matches_the_frames_it_was_made_of():
    video, frames = open_video(SHARED / "videos/dogs-jump.mp4"), open_video(SHARED / "davis/JPEGImages/480p/dogs-jump")
    assert len(video) == len(frames) == 66
    wanted = [60, 3, 4, 33]
    difference = np.abs(video.read(wanted).astype(int) - frames.read(wanted)).mean(axis=(1, 2, 3))
    others = np.abs(video.read(wanted).astype(int) - frames.read([i - 2 for i in wanted])).mean(axis=(1, 2, 3))
    assert (difference < 8).all() and (difference < others).all()
