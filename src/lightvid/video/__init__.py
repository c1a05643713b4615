"""Reading and writing clips, and drawing results."""

from lightvid.video.drawing import picture_strip, write_png
from lightvid.video.overlays import draw_tracks
from lightvid.video.reading import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Video, open_video
from lightvid.video.writing import VideoWriter, write_video

__all__ = [
    "IMAGE_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Video",
    "VideoWriter",
    "draw_tracks",
    "open_video",
    "picture_strip",
    "write_png",
    "write_video",
]
