"""Random numbers as a function of a seed and a counter: the same on every device, in any order and tiling."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF


def philox(seed: int, c0: Tensor, c1: Tensor | int = 0, c2: Tensor | int = 0, c3: Tensor | int = 0) -> list[Tensor]:
    """Philox4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Args:
        seed: the key; its lower 64 bits count.
        c0: first word of the counter, int64 tensor of values below 2^32.
        c1: second word; the words broadcast.
        c2: third word.
        c3: fourth word.

    Returns:
        Four int64 tensors of uniform values in `[0, 2^32)`.
    """
    k0, k1 = seed & _LOW, (seed >> 32) & _LOW
    zero = torch.zeros((), dtype=torch.int64, device=c0.device)
    c1, c2, c3 = zero + c1, zero + c2, zero + c3
    for _ in range(10):
        # 64-bit products wrap around, and the shift copies the sign: the 32 bits that are kept are right all the same.
        product0, product1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _LOW) ^ c1 ^ k0,
            product1 & _LOW,
            ((product0 >> 32) & _LOW) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return list(torch.broadcast_tensors(c0, c1, c2, c3))


def below(bits: Tensor, count: Tensor | int) -> Tensor:
    """Map values in `[0, 2^32)` to `[0, count)` by multiply and shift, for counts below 2^31; 0 for count 0."""
    return (bits * count) >> 32
