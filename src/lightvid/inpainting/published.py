"""Inference as the published test scripts do it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lightvid.errors import ConfigurationError
from lightvid.inpainting.tensors import autocast, check_finite, composite, masked_input, place
from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.inpainting.windows import Window, published_windows

Clip = dict[int, tuple[Frames, Frames]]  # frames and their masks by number


class PublishedRestorer:
    """The inference that published numbers of STTN, DSTT, FuseFormer and E2FGVI were measured with, as a `Restorer`.

    A window is restored around every `neighbour_stride`-th frame, from its neighbours and sparse references. Each
    prediction is cut down to whole grey levels and put into the hole; where windows meet, the mean of what was there
    and what comes replaces it, so that later windows weigh more. All frames are encoded and decoded in every window.
    (STTN's script encodes once for the whole video, which gives the same.)

    Frames are given as soon as no later window restores them. In memory are one window and its references: with
    `references=None` these grow with the video, as published; for videos of any length see `NetworkRestorer`.

    Args:
        network: an `InpaintingGenerator`. It is moved to the device and set to evaluation.
        neighbour_stride: from one window's centre to the next, and from a centre to the ends of its window, in frames.
        reference_stride: from one reference to the next, in frames.
        references: None takes those of the whole video, a number at most so many around the window.
        device: where the network works; where it is, if not given.
        precision: of its autocast, such as `torch.bfloat16`; None leaves autocast as it is.

    Raises:
        ConfigurationError: a stride or a number of references that cannot be.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        neighbour_stride: int = 5,
        reference_stride: int = 10,
        references: int | None = None,
        device: torch.device | str | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        if min(neighbour_stride, reference_stride) < 1 or (references is not None and references < 0):
            raise ConfigurationError(
                f"neighbour_stride={neighbour_stride}, reference_stride={reference_stride}, references={references}:"
                " strides are at least 1 frame, references 0 or more, or None for all"
            )
        self.network = network
        self.neighbour_stride = neighbour_stride
        self.reference_stride = reference_stride
        self.references = references
        self.device = place(network, device)
        self.precision = precision

    def restore(self, video: MaskedVideo, *, start: int = 0) -> Iterator[Frames]:
        """See `Restorer.restore`; the blend is cut down to whole grey levels, as for writing.

        Raises:
            CheckpointError: the network predicts values that are not finite.
        """
        return (frame.astype(np.uint8) for frame in self.blend(video, start=start))

    def blend(self, video: MaskedVideo, *, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """The same before it is cut down: published PSNR and SSIM are those of these frames, `(H, W, 3)` float32."""
        length = len(video)
        windows = published_windows(length, self.neighbour_stride, self.reference_stride, self.references)
        clip: Clip = {}
        blend: dict[int, NDArray[np.float32]] = {}
        for window, following in pairwise(chain(windows, [None])):
            if window is None or window.local.stop <= start:
                continue
            clip = _read(video, window, clip)
            for index, restored in zip(window.local, self._restore(window, clip), strict=True):
                new = restored.astype(np.float32)
                blend[index] = 0.5 * blend[index] + 0.5 * new if index in blend else new
            finished = range(window.local.start, following.local.start if following else length)
            for index in finished:
                frame = blend.pop(index)
                if index >= start:
                    yield frame

    @torch.no_grad()
    def _restore(self, window: Window, clip: Clip) -> list[Frames]:
        """The local frames with what the network puts into their holes."""
        frames, masks = zip(*(clip[index] for index in (*window.local, *window.references)), strict=True)
        count = len(window.local)
        with autocast(self.device, self.precision):
            output = self.network(*masked_input(frames, masks, self.device), local_frames=count)
        local = output.frames[0, :count].float()
        for index, prediction in zip(window.local, local, strict=True):
            check_finite(prediction, index, self.precision)
        predicted = ((local + 1) / 2 * 255).to(torch.uint8).movedim(1, -1).cpu().numpy()
        return [composite(*of_frame) for of_frame in zip(frames[:count], masks[:count], predicted, strict=True)]


def _read(video: MaskedVideo, window: Window, known: Clip) -> Clip:
    """The window's frames and masks; those that the window before had are not read again."""
    indices = (*window.local, *window.references)
    missing = [index for index in indices if index not in known]
    read = zip(video.read(missing), video.read_masks(missing), strict=True) if missing else ()
    known = known | dict(zip(missing, read, strict=True))
    return {index: known[index] for index in indices}
