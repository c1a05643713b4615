import logging

import torch

from lightvid.backbone import LearnedPositions


def test_each_place_gets_its_own_vector_in_every_frame():
    positions = LearnedPositions(8, height=3, width=4)
    x = torch.randn(2, 5, 3, 4, 8)
    torch.testing.assert_close(positions(x) - x, positions.table.expand_as(x))


def test_another_size_is_interpolated_and_said_once(caplog):
    positions = LearnedPositions(8, height=3, width=4)
    positions.table.data = torch.arange(4.0).view(1, 4, 1).expand(3, 4, 8).clone()
    with caplog.at_level(logging.INFO, "lightvid"):
        added, _ = (positions(torch.zeros(1, 2, 6, 8, 8)) for _ in range(2))
    assert [record.getMessage() for record in caplog.records] == ["positions of 3x4 tokens interpolated to 6x8"]
    row = added[0, 0, 0, :, 0]
    assert (row.diff() > 0).all()  # still from left to right
    assert torch.equal(added[0, 0], added[0, 1])
