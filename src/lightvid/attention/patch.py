"""Multi-scale patch attention of STTN (Zeng, Fu and Chao, ECCV 2020, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lightvid.errors import ConfigurationError
from lightvid.ops.chunking import map_frames
from lightvid.ops.grid import images_to_tokens, pad_to_multiple, tokens_to_images

QUERIES_AT_ONCE = 512


class PatchAttention(nn.Module):
    """Every head cuts each frame into patches of its own size; the patches of all frames attend to each other.

    Args:
        channels: width of the tokens; each head takes an equal share.
        divisions: of each head, into how many patches it cuts the height and the width of a frame. The patch size
            follows the feature size; sizes that do not divide are padded and cropped.
        mask_keys: leave out keys whose patch is more than half hole. The published network computes this mask and
            discards it, so its weights expect False.
    """

    def __init__(
        self, channels: int, *, divisions: Sequence[int] = (1, 3, 6, 12), mask_keys: bool = False
    ) -> None:
        super().__init__()
        if channels % len(divisions):
            raise ConfigurationError(f"{channels} channels cannot be shared by the {len(divisions)} heads of divisions")
        self.divisions = tuple(divisions)
        self.mask_keys = mask_keys
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, holes: Tensor | None = None) -> Tensor:
        """Mix tokens.

        Args:
            x: `(B, T, H, W, C)`.
            holes: `(B, T, H, W)`, 1 = hole; used with `mask_keys` only.

        Returns:
            `(B, T, H, W, C)`.
        """
        B, _, H, W, _ = x.shape
        multiple = math.lcm(*self.divisions)
        padded = images_to_tokens(pad_to_multiple(tokens_to_images(x), multiple, multiple), B)
        if not self.mask_keys:
            holes = None
        elif holes is not None:
            holes = images_to_tokens(pad_to_multiple(tokens_to_images(holes[..., None].float()), multiple, multiple), B)
        heads = self._attend(padded, holes)
        mixed = map_frames(self._project, tokens_to_images(heads[:, :, :H, :W]))
        return images_to_tokens(mixed, B)

    def _attend(self, x: Tensor, holes: Tensor | None) -> Tensor:
        """All heads, one after the other, so that inference holds the queries, keys and values of one head at a time."""
        if torch.is_grad_enabled():
            return torch.cat([self._head(x, index, holes) for index in range(len(self.divisions))], dim=-1)
        mixed = torch.empty_like(x, memory_format=torch.contiguous_format)
        for index, part in enumerate(mixed.chunk(len(self.divisions), dim=-1)):
            part.copy_(self._head(x, index, holes))
        return mixed

    def _head(self, x: Tensor, index: int, holes: Tensor | None) -> Tensor:
        divisions = self.divisions[index]
        share = x.shape[-1] // len(self.divisions)
        rows = slice(index * share, (index + 1) * share)

        def patches(projection: nn.Linear) -> Tensor:
            return _to_patches(linear(x, projection.weight[rows], projection.bias[rows]), divisions)

        query, key, value = patches(self.query), patches(self.key), patches(self.value)
        invalid = None if holes is None else _to_patches(holes, divisions).mean(-1) > 0.5  # (B, N)
        return _from_patches(_attention(query, key, value, invalid), x.shape, divisions)

    def _project(self, images: Tensor) -> Tensor:
        return nn.functional.leaky_relu(self.output(images), 0.2, inplace=True)


def _to_patches(x: Tensor, divisions: int) -> Tensor:
    """`(B, T, H, W, C)` to `(B, N, E)`: N = T * divisions^2 patches of E values."""
    B, T, H, W, C = x.shape
    h, w = H // divisions, W // divisions
    x = x.reshape(B, T, divisions, h, divisions, w, C).transpose(3, 4)
    return x.reshape(B, T * divisions * divisions, h * w * C)


def _from_patches(patches: Tensor, shape: torch.Size, divisions: int) -> Tensor:
    """The inverse of `_to_patches`; `shape` gives B, T, H and W."""
    B, T, H, W = shape[:4]
    h, w = H // divisions, W // divisions
    x = patches.reshape(B, T, divisions, divisions, h, w, -1).transpose(3, 4)
    return x.reshape(B, T, H, W, -1)


def _attention(query: Tensor, key: Tensor, value: Tensor, invalid: Tensor | None) -> Tensor:
    """Scaled dot-product attention over `(B, N, E)`; E is far beyond what fused kernels take.

    Without gradients the queries go in chunks, so that the scores need no N x N memory.
    """
    N, E = query.shape[1:]
    nothing = query.new_zeros(1, 1, 1)
    results = []
    for part in query.split(N if torch.is_grad_enabled() else QUERIES_AT_ONCE, dim=1):
        # Scaled inside the product: sums over this many channels overflow float16.
        scores = torch.baddbmm(nothing, part, key.transpose(1, 2), beta=0, alpha=1 / math.sqrt(E)).float()
        if invalid is not None:
            # Finite, so that a frame full of holes attends uniformly.
            scores = scores.masked_fill(invalid[:, None], -1e9)
        results.append(torch.bmm(scores.softmax(-1).to(value.dtype), value))
    return results[0] if len(results) == 1 else torch.cat(results, dim=1)
