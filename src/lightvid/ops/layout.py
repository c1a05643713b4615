"""The two views of one memory: tokens `(B, T, H, W, C)` and maps `(B*T, C, H, W)` in channels_last."""

from torch import Tensor


def tokens_to_maps(tokens: Tensor) -> Tensor:
    """View contiguous tokens `(B, T, H, W, C)` as maps `(B*T, C, H, W)` in channels_last, without a copy."""
    return tokens.contiguous().flatten(0, 1).permute(0, 3, 1, 2)


def maps_to_tokens(maps: Tensor, batch: int) -> Tensor:
    """View maps `(B*T, C, H, W)` as contiguous tokens `(B, T, H, W, C)`; channels_last maps are not copied."""
    return maps.permute(0, 2, 3, 1).contiguous().unflatten(0, (batch, -1))
