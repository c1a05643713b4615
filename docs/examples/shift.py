"""A token mixer of one's own: each frame sees a part of its neighbours, then its surroundings."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class ShiftMixer(nn.Module):
    """Temporal shift (TSM, Lin et al., ICCV 2019) and a depthwise convolution; linear in all sizes."""

    def __init__(self, channels: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.parts = [channels // 4, channels // 4, channels - 2 * (channels // 4)]
        self.spatial = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens `(B, T, H, W, C)`."""
        earlier, later, here = x.split(self.parts, dim=-1)
        later = pad(later[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1))
        earlier = pad(earlier[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0))
        maps = torch.cat((earlier, later, here), dim=-1).flatten(0, 1).permute(0, 3, 1, 2)
        mixed = self.spatial(maps).permute(0, 2, 3, 1).reshape(x.shape)
        return self.output(mixed)
