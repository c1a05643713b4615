"""What the tests of the inpaint command share: clips in files, and a restorer that shows where it worked."""

from fractions import Fraction

import av
import cv2
import numpy as np

from lightvid.video import write_png

HEIGHT, WIDTH = 48, 64
GREY = 128


class Greying:
    """A restorer that makes holes grey; `before(index)` is called for each frame."""

    def __init__(self, before=lambda index: None):
        self.before, self.starts = before, []

    def restore(self, video, *, start=0):
        self.starts.append(start)
        for index in range(start, len(video)):
            self.before(index)
            (frame,), (mask,) = video.read([index]), video.read_masks([index])
            yield np.where(mask[..., None] > 0, GREY, frame).astype(np.uint8)


def texture(length, height=HEIGHT, width=WIDTH):
    """A smooth picture that moves, as codecs like it."""
    coarse = np.random.default_rng(0).integers(0, 255, (7, 9, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([np.roll(picture, index, axis=1) for index in range(length)])


def squares(length, height=HEIGHT, width=WIDTH, value=255):
    """A square of 10 pixels that moves to the right, as `(T, H, W)`."""
    masks = np.zeros((length, height, width), np.uint8)
    for index, mask in enumerate(masks):
        left = 5 + index % 40
        mask[12:22, left : left + 10] = value
    return masks


def write_images(folder, images, *, first=0, step=1, suffix=".png"):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        name = folder / f"{first + number * step:05d}{suffix}"
        if suffix == ".png" and image.ndim == 3:
            write_png(name, image)
        else:
            cv2.imwrite(str(name), image if image.ndim == 2 else image[..., ::-1])
    return folder


def encode(
    path,
    frames,
    rate=Fraction(24),
    *,
    codec="libx264",
    pixels=None,
    times=None,
    last=0,
    sound=None,
    layout="mono",
    rotation=0,
    matrix=0,
    aspect=0,
):
    """Write a video file, with a second of a tone as sound if a codec is given for it.

    `times` of the frames, and how long the `last` is shown, are in milliseconds.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels or ("bgr0" if codec == "ffv1" else "yuv420p")
        stream.codec_context.gop_size = 12
        stream.codec_context.color_range = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if matrix:
            stream.codec_context.colorspace = stream.codec_context.color_primaries = matrix
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        audio = sound and container.add_stream(sound, rate=48000)
        if audio:
            audio.layout = layout
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if matrix:
                picture = picture.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)
            if times is not None:
                picture.pts, picture.time_base = times[number], Fraction(1, 1000)
                picture.duration = last if last and number == len(frames) - 1 else 0
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
        if audio:
            _encode_tone(container, audio, layout)
    return path


def _encode_tone(container, stream, layout):
    tone = (np.sin(np.arange(48000) * 0.05) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
    frame.rate, frame.pts = 48000, 0
    context = stream.codec_context
    resampler = av.AudioResampler(
        format=context.format, layout=layout, rate=48000, frame_size=context.frame_size or 1024
    )
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(part))
    container.mux(stream.encode())


def sound_of(path):
    """The content of all audio packets."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def sound_lead(path):
    """By how many seconds the sound begins before the first frame."""
    with av.open(str(path)) as container:
        first = next(packet for packet in container.demux(audio=0) if packet.size)
        return seconds_of(path)[0] - float(first.pts * first.time_base)


def frame_rate(path):
    """Frames per second, the mean where they vary."""
    with av.open(str(path)) as container:
        return container.streams.video[0].average_rate


def seconds_of(path):
    """When each frame is shown."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
