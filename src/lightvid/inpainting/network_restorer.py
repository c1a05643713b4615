"""Inference of inpainting networks over videos of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import get_args

import torch
from torch import Tensor

from lightvid.errors import ConfigurationError
from lightvid.inpainting.blending import Blend, BlendedFrames, to_bytes
from lightvid.inpainting.encoding import EncodedVideo
from lightvid.inpainting.schedule import Step, steps
from lightvid.inpainting.tensors import autocast, check_finite, composite, place
from lightvid.inpainting.video import Frames, MaskedVideo
from lightvid.inpainting.windows import SlidingWindows
from lightvid.networks.generator import InpaintingGenerator
from lightvid.video.ahead import one_ahead

SHARED = 3  # frames of neighbouring windows


class NetworkRestorer:
    """Fills holes with a network, in memory and time per frame that do not grow with the video; a `Restorer`.

    The network restores overlapping windows, whose predictions are blended in float32 and rounded once. Compared with
    the published scripts (`PublishedRestorer`), each frame is encoded once, flow is estimated once per pair of frames,
    only what is restored is decoded, the windows are longer and overlap less, so that references are looked at less
    often, and windows without a hole cost nothing. Frames are read in another thread, one window ahead.

    Args:
        network: is moved to the device and set to evaluation.
        window: neighbouring frames that are restored together.
        stride: from one window to the next, in frames; windows share `window - stride` frames, 3 by default. Published
            are windows of 11 frames, one every 5 frames, so that every frame is restored twice or more.
        reference_stride: from one reference frame to the next, in frames.
        max_references: of one window, the nearest on both sides. The default reaches as far as published networks
            were tested on (180 frames).
        blend: see `blend_weights`.
        propagate_first: makes another video of the one to restore, such as one in which flow has brought known pixels
            into the holes (`PropagatedVideo`). The network sees that video and fills the holes that remain.
        device: where the network works; where it is, if not given.
        precision: of its autocast, such as `torch.bfloat16`; None leaves autocast as it is.
        encode_batch: frames that are encoded at once.

    Raises:
        ConfigurationError: windows that cannot be.
    """

    def __init__(
        self,
        network: InpaintingGenerator,
        *,
        window: int = 16,
        stride: int | None = None,
        reference_stride: int = 10,
        max_references: int = 18,
        blend: Blend = "triangular",
        propagate_first: Callable[[MaskedVideo], MaskedVideo] | None = None,
        device: torch.device | str | None = None,
        precision: torch.dtype | None = None,
        encode_batch: int = 5,
    ) -> None:
        stride = max(1, window - SHARED) if stride is None else stride
        if not 1 <= stride <= window:
            raise ConfigurationError(f"stride={stride}: windows of {window} frames begin every 1 to {window} frames")
        if reference_stride < 1 or max_references < 0 or encode_batch < 1:
            raise ConfigurationError(
                f"reference_stride={reference_stride}, max_references={max_references}, encode_batch={encode_batch}:"
                " expected at least 1, 0 and 1 frames"
            )
        if blend not in get_args(Blend):
            raise ConfigurationError(f"unknown blend '{blend}': choose one of {', '.join(get_args(Blend))}")
        self.network = network
        self.window = window
        self.stride = stride
        self.reference_stride = reference_stride
        self.max_references = max_references
        self.blend: Blend = blend
        self.propagate_first = propagate_first
        self.device = place(network, device)
        self.precision = precision
        self.encode_batch = encode_batch

    def restore(self, video: MaskedVideo, *, start: int = 0) -> Iterator[Frames]:
        """See `Restorer.restore`; the video is read in another thread, by nobody else at the same time.

        Raises:
            CheckpointError: the network predicts values that are not finite.
        """
        if self.propagate_first is not None:
            video = self.propagate_first(video)
        windows = self._windows(len(video))
        encoded = EncodedVideo(self.network, self.device, self.precision)
        blended = BlendedFrames(self.blend)
        for step in one_ahead(steps(video, windows, batch=self.encode_batch, start=start)):
            if step.batches is not None:
                for batch in step.batches:
                    encoded.encode(batch, *zip(*(step.clip[index] for index in batch), strict=True))
                self._restore(step, encoded, blended)
            encoded.keep(partial(windows.needs_again, step.number))
            for index in windows.finished_with(step.number):
                prediction = blended.take(index)
                if index >= start:
                    yield self._filled(index, *step.clip[index], prediction)

    def _windows(self, length: int) -> SlidingWindows:
        return SlidingWindows(length, self.window, self.stride, self.reference_stride, self.max_references)

    @torch.no_grad()
    def _restore(self, step: Step, encoded: EncodedVideo, blended: BlendedFrames) -> None:
        """Add what the network predicts for the window's local frames."""
        local = step.window.local
        flows = encoded.flows_of(local)
        with autocast(self.device, self.precision):
            clip = encoded.clip((*local, *step.window.references))
            output = self.network.restore(clip, local_frames=len(local), flows=flows, decode=len(local))
        blended.add(local, output.frames[0])

    def _filled(self, index: int, frame: Frames, mask: Frames, prediction: Tensor | None) -> Frames:
        if prediction is None or not mask.any():
            return frame
        check_finite(prediction, index, self.precision)
        return composite(frame, mask, to_bytes(prediction).cpu().numpy())
