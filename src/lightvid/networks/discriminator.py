"""T-PatchGAN: scores of overlapping patches of space and time."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lightvid.networks.initialisation import Initialisation, initialise
from lightvid.ops import without_autocast


class TPatchGAN(nn.Module):
    """Six strided 3-D convolutions, all but the last spectrally normalised (Chang et al., ICCV 2019; STTN's sizes).

    There is no one-channel end: the loss averages over all channels of the last layer, as published.

    Args:
        channels: width of the first layer: 64 in STTN; 32 in DSTT, FuseFormer and E2FGVI.
        merge_batch_into_time: lay the clips of a batch end to end and score them as one clip, as the released trainers
            of STTN, DSTT and FuseFormer do; the first and last frames of neighbouring clips then see each other.
        init: "published" draws the weights from N(0, 0.02), "default" leaves PyTorch's initialisation.
    """

    def __init__(
        self, channels: int = 64, *, merge_batch_into_time: bool = False, init: Initialisation = "default"
    ) -> None:
        super().__init__()
        self.merge_batch_into_time = merge_batch_into_time
        widths = [3, channels, 2 * channels, *[4 * channels] * 4]
        # The first padding is one pixel short of the others: so it was published, and the sizes follow from it.
        self.convs = nn.ModuleList(
            nn.Conv3d(before, after, (3, 5, 5), (1, 2, 2), (1, 2, 2) if index else (1, 1, 1), bias=index == 5)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        initialise(self, init)
        for conv in self.convs[:-1]:
            spectral_norm(conv, n_power_iterations=1, eps=1e-12)

    def forward(self, video: Tensor) -> Tensor:
        """Score a video.

        Args:
            video: `(B, T, 3, H, W)`.

        Returns:
            `(B, T, 4 * channels, h, w)`, unbounded; 4x7 for 240x432.
        """
        if video.dim() != 5 or video.shape[2] != 3 or min(video.shape[3:]) < 3:
            raise ValueError(f"expected a video (B, T, 3, H, W) of at least 3x3 pixels, got {tuple(video.shape)}")
        clips = video.flatten(0, 1).unsqueeze(0) if self.merge_batch_into_time else video
        x = clips.transpose(1, 2)
        for index, conv in enumerate(self.convs):
            x = _convolve(conv, x if index == 0 else F.leaky_relu(x, 0.2, inplace=True))
        return x.transpose(1, 2).reshape(*video.shape[:2], *x.shape[1:2], *x.shape[3:])


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """The convolution at autocast's precision, with the weight normalised at its own."""
    assert isinstance(conv, nn.Conv3d)
    with without_autocast(x.device):
        weight = conv.weight
    return F.conv3d(x, weight, conv.bias, conv.stride, conv.padding)
