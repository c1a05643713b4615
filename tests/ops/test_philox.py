import pytest
import torch

from lightvid.ops.philox import below, philox


@pytest.mark.parametrize(
    "seed, counter, expected",
    [
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_published_answers_of_random123(seed, counter, expected):
    words = philox(seed, *(torch.tensor([word]) for word in counter))
    assert tuple(int(word) for word in words) == expected


def test_triton_draws_the_same_numbers():
    triton = pytest.importorskip("triton")
    import triton.language as tl

    @triton.jit
    def draw(seed, out, N: tl.constexpr):
        offsets = tl.arange(0, N)
        a, b, c, d = tl.randint4x(seed, offsets)
        tl.store(out + offsets, a.to(tl.int64))
        tl.store(out + N + offsets, b.to(tl.int64))
        tl.store(out + 2 * N + offsets, c.to(tl.int64))
        tl.store(out + 3 * N + offsets, d.to(tl.int64))

    out = torch.empty(4, 64, dtype=torch.int64)
    seed = 2**40 + 12345
    draw[(1,)](seed, out, 64)
    assert torch.equal(out, torch.stack(philox(seed, torch.arange(64))))


def test_numbers_are_mapped_to_every_value_of_a_range_equally_often():
    bits = philox(7, torch.arange(30_000))[0]
    counts = below(bits, 3).bincount()
    assert len(counts) == 3
    assert (counts - 10_000).abs().max() < 400  # five standard deviations
    assert below(torch.tensor([2**32 - 1]), 2**31 - 1).item() == 2**31 - 2
