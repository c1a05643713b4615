"""What a file of E2FGVI holds besides weights is checked; a file of the other variant is named."""

import pytest
import torch

from lightvid.checkpoints import load
from lightvid.checkpoints.e2fgvi import _surroundings, convert, names
from lightvid.errors import CheckpointError
from lightvid.networks import e2fgvi, e2fgvi_hq

ROLLED = "transformer.0.attn.valid_ind_rolled"


def published(make):
    """A file as released, of a network with one block."""
    network = make(blocks=1)
    state = network.state_dict()
    tensors = {name: state[mine] for name, mine in names(network).items()}
    return {**tensors, ROLLED: _surroundings(), "update_spynet.mean": torch.zeros(1, 3, 1, 1)}


def test_the_surroundings_of_a_window_are_the_published_list():
    indices = _surroundings()
    assert indices[:13].tolist() == [5, 6, 7, 8, 14, 15, 16, 17, 23, 24, 25, 26, 27]
    assert len(indices) == 120
    shifts = torch.tensor([(2, 4), (2, -4), (-2, 4), (-2, -4)])
    copy, place = indices // 45, indices % 45
    offsets = torch.stack((place // 9, place % 9), dim=1) + shifts[copy]
    assert len(offsets.unique(dim=0)) == 108


def test_constants_of_a_file_are_dropped_and_other_windows_refused():
    assert not {ROLLED, "update_spynet.mean"} & set(convert(published(e2fgvi)))
    with pytest.raises(CheckpointError, match=r"valid_ind_rolled: not the surroundings of windows of 5x9"):
        load("e2fgvi", {**published(e2fgvi), ROLLED: torch.arange(120)}, blocks=1)


@pytest.mark.parametrize(
    ("make", "right", "wrong"), [(e2fgvi, "e2fgvi", "e2fgvi_hq"), (e2fgvi_hq, "e2fgvi_hq", "e2fgvi")]
)
def test_a_file_of_the_other_variant_is_named(make, right, wrong):
    assert load(right, published(make), blocks=1).checkpoint_report.complete
    with pytest.raises(CheckpointError, match=rf'is a checkpoint of another network: load\("{right}"'):
        load(wrong, published(make), blocks=1)
