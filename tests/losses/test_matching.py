"""The assignment of instances to tracks."""

import pytest
import torch

from lightvid.errors import ConfigurationError
from lightvid.losses import cheapest_assignments


def pairs(cost):
    (assignment,) = cheapest_assignments([torch.as_tensor(cost)])
    return set(zip(assignment.instances.tolist(), assignment.tracks.tolist(), strict=True))


def test_the_sum_of_costs_is_least_not_each_cost():
    # taking the cheapest pair first, (0, 0), would cost 1 + 9
    assert pairs([[1.0, 2.0], [2.0, 9.0]]) == {(0, 1), (1, 0)}


def test_instances_beyond_the_tracks_stay_free_and_tracks_beyond_the_instances_too():
    assert pairs([[3.0], [1.0], [2.0]]) == {(1, 0)}
    assert pairs([[3.0, 1.0, 2.0]]) == {(0, 1)}


def test_matrices_of_different_sizes_are_matched_each_for_itself():
    costs = [torch.rand(4, 2), torch.zeros(4, 0), torch.rand(4, 6), torch.eye(3)]
    assigned = cheapest_assignments(costs)
    assert [len(part.tracks) for part in assigned] == [2, 0, 4, 3]
    for cost, part in zip(costs, assigned, strict=True):
        (alone,) = cheapest_assignments([cost])
        assert torch.equal(part.instances, alone.instances)
        assert torch.equal(part.tracks, alone.tracks)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_are_refused_in_one_line(bad):
    cost = torch.zeros(3, 2)
    cost[1, 1] = bad
    with pytest.raises(ConfigurationError, match="NaN or infinity") as caught:
        cheapest_assignments([torch.zeros(2, 2), cost])
    assert "\n" not in str(caught.value)
