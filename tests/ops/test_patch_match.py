import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightvid.ops import patch_search, patches
from lightvid.ops.patch_fields import move_field, upsample_field
from lightvid.ops.patch_match import patch_match
from lightvid.ops.patches import PatchVolume, patch_costs
from lightvid.profiling import peak_bytes, saved_bytes

FRAMES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "davis" / "JPEGImages"


def smooth(*shape):
    """Noise with structure larger than a pixel, as features have."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).flatten(0, 1).permute(0, 3, 1, 2)
    return F.avg_pool2d(x, 3, 1, 1).permute(0, 2, 3, 1).unflatten(0, shape[:2]).contiguous()


def nearest(query, key, patch):
    """Index and cost of the best key of every query, by all products of unfolded patches; batch size 1."""
    rows = []
    for volume in (query.double(), key.double()):
        source = PatchVolume(volume, (1, patch, patch))
        rows.append(source.gather(source.first_rows(0, torch.arange(volume[..., 0].numel()))))
    index = torch.cat([torch.cdist(part, rows[1]).argmin(1) for part in rows[0].split(1024)])
    index = index.view(*query.shape[:4], 1).int()
    return index, patch_costs(query, key, index, patch=patch)


@pytest.mark.parametrize("clip", ["tennis", "dogs-jump", "bmx-trees"])
def test_real_frames_are_matched_almost_exactly_after_five_iterations(clip):
    folder = next(iter(sorted(FRAMES.glob(f"**/{clip}"))), None)
    if folder is None:
        pytest.skip("the clips of ../shared/data/davis are not here")
    files = sorted(folder.glob("*.jpg"))
    query, key = (
        torch.from_numpy(np.array(Image.open(files[number]).convert("RGB").resize((64, 64)))).float()[None, None] / 255
        for number in (0, 5)
    )
    index, cost = nearest(query, key, 7)
    for seed in range(3):
        field = patch_match(query, key, patch=7, neighbours=3, iterations=5, seed=seed)
        assert (field.index[..., :1] == index).float().mean() >= 0.9
        assert field.cost[..., 0].mean() / cost.mean() <= 1.03


def test_a_shifted_copy_is_found_exactly():
    key = smooth(1, 1, 40, 40, 3)
    query = key.roll((5, -7), dims=(2, 3))
    field = patch_match(query, key, patch=5)
    assert (field.cost[:, :, 8:-8, 8:-10, :1] == 0).float().mean() > 0.99


def test_no_iteration_makes_any_neighbour_worse():
    query, key = smooth(1, 2, 16, 16, 3), smooth(1, 2, 14, 18, 3)
    costs = [patch_match(query, key, patch=3, iterations=n).cost for n in range(4)]
    for before, after in itertools.pairwise(costs):
        assert (after <= before).all()
    assert costs[3].mean() < 0.8 * costs[0].mean()


def test_as_many_neighbours_as_keys_are_all_keys():
    query, key = smooth(1, 2, 4, 5, 2), smooth(1, 3, 2, 4, 2)
    field = patch_match(query, key, patch=3, neighbours=24, iterations=0)
    assert torch.equal(field.index.sort(dim=-1).values, torch.arange(24).int().expand_as(field.index))


def test_lists_are_sorted_without_duplicates_and_carry_their_costs():
    query, key = smooth(2, 2, 10, 12, 3), smooth(2, 2, 12, 10, 3)
    for similarity in ("l2", "dot", "cosine"):
        index, cost = patch_match(query, key, patch=3, similarity=similarity)
        assert index.dtype == torch.int32
        assert (cost.diff(dim=-1) >= 0).all()
        assert (index.sort(dim=-1).values.diff(dim=-1) > 0).all()
        torch.testing.assert_close(cost, patch_costs(query, key, index, patch=3, similarity=similarity))


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_every_similarity_is_searched_for(similarity):
    query, key = smooth(1, 1, 12, 12, 4), smooth(1, 1, 12, 12, 4).flip(2)
    every_key = torch.arange(144).int().expand(1, 1, 12, 12, -1)
    best = patch_costs(query, key, every_key, patch=3, similarity=similarity).amin(-1)
    found = patch_match(query, key, patch=3, similarity=similarity, iterations=8).cost[..., 0]
    assert torch.isclose(found, best).float().mean() > 0.95


def test_a_field_is_a_function_of_its_seed_not_of_tiles_threads_or_batch(monkeypatch):
    query, key = smooth(2, 1, 12, 14, 3).round(decimals=1), smooth(2, 1, 14, 12, 3).round(decimals=1)
    expected = patch_match(query, key, patch=3, seed=5)
    assert not torch.equal(patch_match(query, key, patch=3, seed=6).index, expected.index)
    for part in range(2):
        alone = patch_match(query[part : part + 1], key[part : part + 1], patch=3, seed=5)
        assert torch.equal(alone.index[0], expected.index[part])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(patch_search, "QUERIES_AT_ONCE", 50)
    monkeypatch.setattr(patches, "ELEMENTS_AT_ONCE", 1000)
    assert torch.equal(patch_match(query, key, patch=3, seed=5).index, expected.index)
    torch.set_num_threads(threads)


def test_any_python_integer_is_a_seed():
    x = smooth(1, 1, 6, 6, 2)

    def index(seed):
        return patch_match(x, x, patch=3, seed=seed, iterations=0).index

    for seed in (5, 2**63 - 1, -1):
        for other in (seed + 2**64, seed - 2**64, seed + 3 * 2**200):
            assert torch.equal(index(other), index(seed))
    assert not torch.equal(index(2**63), index(2**63 + 1))


def test_border_positions_have_neighbours_at_their_true_cost():
    query, key = smooth(1, 1, 9, 9, 2), smooth(1, 1, 9, 9, 2) + 5
    field = patch_match(query, key, patch=7)
    assert (field.index >= 0).all()
    assert field.cost[0, 0, 0, 0, 0] > 10  # not the perfect match of a position without a patch


@pytest.mark.parametrize("patch", [13, 15, (3, 5, 1)])
def test_any_odd_patch_works(patch):
    x = smooth(1, 2, 10, 10, 2)
    field = patch_match(x, x, patch=patch, iterations=8)
    assert (field.cost[..., 0] == 0).float().mean() > 0.9


def test_a_cost_does_not_scale_with_patch_and_channels():
    query, key = torch.zeros(1, 1, 8, 8, 1), torch.full((1, 1, 8, 8, 1), 3.0)
    for patch, channels in ((3, 1), (7, 1), (3, 5)):
        field = patch_match(query.expand(-1, -1, -1, -1, channels), key.expand(-1, -1, -1, -1, channels), patch=patch)
        assert (field.cost == 9).all()


def test_no_patch_with_an_invalid_pixel_is_a_key():
    query, key = smooth(1, 1, 16, 16, 3), smooth(1, 1, 16, 16, 3)
    valid = torch.ones(1, 1, 16, 16, dtype=torch.bool)
    valid[..., 4:10, 5:9] = False
    touched = F.max_pool2d((~valid).float()[0], 5, 1, 2).flatten() > 0
    index = patch_match(query, key, patch=5, key_valid=valid).index
    assert (index >= 0).all()
    assert not touched[index.long()].any()


def test_without_a_valid_key_there_is_no_neighbour():
    x = smooth(2, 1, 8, 8, 2)
    valid = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    valid[0] = False
    index, cost = patch_match(x, x, patch=3, key_valid=valid)
    assert (index[0] == -1).all()
    assert (cost[0] == torch.inf).all()
    assert (index[1] >= 0).all()


def test_the_only_valid_key_is_found_by_all():
    x = smooth(1, 2, 20, 20, 2)
    valid = torch.zeros(1, 2, 20, 20, dtype=torch.bool)
    valid[0, 1, 7:10, 3:6] = True
    index = patch_match(x, x, patch=3, key_valid=valid, iterations=0).index
    assert (index[..., 0] == 400 + 8 * 20 + 4).all()
    assert (index[..., 1:] == -1).all()


def test_where_no_neighbours_are_wanted_there_are_none():
    query, key = smooth(1, 2, 12, 12, 2), smooth(1, 2, 12, 12, 2)
    wanted = torch.zeros(1, 2, 12, 12, dtype=torch.bool)
    wanted[:, 1, 3:9, 3:9] = True
    index, cost = patch_match(query, key, patch=3, query_mask=wanted)
    assert (index[wanted] >= 0).all()
    assert (index[~wanted] == -1).all()
    assert (cost[~wanted] == torch.inf).all()


def test_the_own_neighbourhood_can_be_excluded():
    x = smooth(1, 2, 12, 12, 2)
    index = patch_match(x, x, patch=3, exclude=3).index.long()
    frame, row, column = index // 144, index // 12 % 12, index % 12
    t, y, x_ = torch.meshgrid(torch.arange(2), torch.arange(12), torch.arange(12), indexing="ij")
    near = (row - y[..., None]).abs().lt(3) & (column - x_[..., None]).abs().lt(3) & (frame == t[..., None])
    assert (index >= 0).all()
    assert not near.any()


def test_each_frame_looks_only_at_the_frames_of_its_list():
    x = smooth(1, 4, 10, 10, 2)
    lists = torch.tensor([[1, 2], [3, -1], [0, 1], [2, 0]])
    index = patch_match(x, x, patch=3, key_frames=lists, iterations=2).index
    for t in range(4):
        looked_at = set((index[:, t] // 100).unique().tolist())
        assert looked_at == set(lists[t].tolist()) - {-1}


def test_moving_content_is_found_in_the_other_frames_of_a_clip():
    still = smooth(1, 1, 24, 24, 3)[:, 0]
    clip = torch.stack([still.roll(2 * t, dims=2) for t in range(5)], dim=1)
    others = torch.tensor([[s for s in range(5) if s != t] for t in range(5)])
    field = patch_match(clip, clip, patch=5, key_frames=others, neighbours=2, iterations=6)
    inside = field.cost[:, :, 4:-4, 11:-11]
    assert (inside == 0).float().mean() > 0.95
    frames = field.index // 576
    assert (frames != torch.arange(5)[:, None, None, None]).all()


def test_patches_in_time_tell_directions_of_motion_apart():
    still = smooth(1, 1, 16, 24, 3)[:, 0]
    right = torch.stack([still.roll(t, dims=2) for t in range(6)], dim=1)
    key = torch.cat([right.flip(1), right], dim=1)  # first backwards, then forwards
    index = patch_match(right, key, patch=(3, 3, 3), neighbours=1, iterations=8).index
    assert (index[:, 1:-1, 3:-3, 8:-8] // 384 >= 6).float().mean() > 0.9


def test_a_warm_start_is_never_worse_than_its_field():
    query, key = smooth(1, 1, 24, 24, 3), smooth(1, 1, 24, 24, 3).roll(3, dims=2)
    before = patch_match(query, key, patch=5, iterations=2)
    for iterations in (0, 1):
        after = patch_match(query, key, patch=5, iterations=iterations, start=before.index, seed=1)
        assert (after.cost <= before.cost).all()


def test_a_start_that_is_no_longer_allowed_is_dropped():
    x = smooth(1, 1, 10, 10, 2)
    valid = torch.ones(1, 1, 10, 10, dtype=torch.bool)
    valid[..., :5] = False
    start = torch.arange(100).int().view(1, 1, 10, 10, 1)
    index = patch_match(x, x, patch=1, key_valid=valid, start=start, iterations=0).index
    assert (index % 10 >= 5).all()
    assert (index[..., 5:, 0] == start[..., 5:, 0]).all()


def test_a_field_of_half_the_size_starts_the_full_size_well():
    key = smooth(1, 1, 32, 32, 3)
    query = key.roll((4, -6), dims=(2, 3))
    coarse_query, coarse_key = (volume[:, :, ::2, ::2].contiguous() for volume in (query, key))
    coarse = patch_match(coarse_query, coarse_key, patch=3, neighbours=1, iterations=8).index
    start = upsample_field(coarse, size=(32, 32), keys=(16, 16), upsampled_keys=(32, 32))
    warm = patch_match(query, key, patch=3, neighbours=1, start=start, iterations=1).cost
    cold = patch_match(query, key, patch=3, neighbours=1, iterations=1).cost
    assert warm.mean() < 0.2 * cold.mean()


def test_upsampling_keeps_matches_at_odd_sizes_and_the_absence_of_one():
    same = torch.arange(3 * 4).int().view(1, 1, 3, 4, 1)
    index = upsample_field(same, size=(5, 7), keys=(3, 4), upsampled_keys=(5, 7))
    assert torch.equal(index.flatten(), torch.arange(35).int())
    assert (upsample_field(same * 0 - 1, size=(5, 7), keys=(3, 4), upsampled_keys=(5, 7)) == -1).all()


def test_a_field_moves_along_a_clip_until_its_keys_leave():
    index = torch.tensor([-1, 0, 7, 8]).int().view(1, 1, 1, 1, 4)
    assert move_field(index, -1, keys=(3, 2, 3)).flatten().tolist() == [-1, -1, 1, 2]
    assert move_field(index, 2, keys=(3, 2, 3)).flatten().tolist() == [-1, 12, -1, -1]


def test_half_precision_and_strided_inputs():
    query, key = torch.randn(1, 3, 1, 10, 10).bfloat16(), torch.randn(1, 3, 1, 10, 10)
    views = [volume.permute(0, 2, 3, 4, 1) for volume in (query, key)]
    field = patch_match(*views, patch=3)
    expected = patch_match(views[0].float().contiguous(), views[1].contiguous(), patch=3)
    assert field.cost.dtype == torch.float32
    assert torch.equal(field.index, expected.index)


def test_gradients_pass_it_by():
    x = torch.randn(1, 1, 8, 8, 2, requires_grad=True)
    field = patch_match(x * 2, x, patch=3)
    assert not field.index.requires_grad
    assert not field.cost.requires_grad
    assert saved_bytes(lambda: patch_match(x, x, patch=3)) == 0


def test_the_operator_is_well_formed():
    x = torch.randn(1, 2, 6, 6, 2, requires_grad=True)
    mask = torch.rand(1, 2, 6, 6) > 0.5
    start = torch.zeros(1, 2, 6, 6, 1, dtype=torch.int32)
    lists = torch.tensor([[1], [0]])
    arguments = (x, x.detach(), mask, mask, lists, start, [1, 3, 3], 2, "l2", 0, 0, 1)
    torch.library.opcheck(torch.ops.lightvid.patch_match.default, arguments)


def test_it_compiles():
    query, key, mask = smooth(1, 1, 8, 8, 2), smooth(1, 1, 8, 8, 2), torch.rand(1, 1, 8, 8) > 0.5

    def search(query, key):
        return patch_match(query, key, patch=3, query_mask=mask).index

    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(query, key), search(query, key))


def test_compiled_it_takes_a_new_seed_every_time():
    x = smooth(1, 1, 6, 6, 2)

    def search(seed):
        return patch_match(x, x, patch=3, seed=seed, iterations=0).index

    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")
    for seed in (3, 4, -5, 2**63 + 1):
        assert torch.equal(compiled(seed), search(seed))


def test_memory_is_linear_in_pixels():
    def peak(frames):
        x = torch.empty(1, frames, 64, 64, 3, device="meta")
        return peak_bytes(lambda: patch_match(x, x, patch=5))

    small, middle, large = peak(2), peak(4), peak(6)
    assert 0.95 < (large - middle) / (middle - small) < 1.05
    assert (large - middle) / (2 * 64 * 64) < 100  # bytes for a pixel: two lists of three, two padded copies, output


def test_a_large_search_needs_little_more_than_its_inputs(monkeypatch):
    monkeypatch.setattr(patches, "ELEMENTS_AT_ONCE", 2**22)  # fewer tiles for a faster count; they only add to it
    x = torch.empty(1, 1, 512, 512, 16, device="meta")
    assert peak_bytes(lambda: patch_match(x, x, patch=7, neighbours=3)) < 0.12e9


@pytest.mark.parametrize(
    "options, message",
    [
        ({"patch": 4}, "odd"),
        ({"similarity": "l1"}, "similarity"),
        ({"neighbours": 0}, "neighbours"),
        ({"iterations": -1}, "iterations"),
        ({"key_valid": torch.ones(1, 1, 8, 8)}, "key_valid must be bool"),
        ({"query_mask": torch.ones(1, 1, 8, 9, dtype=torch.bool)}, "query_mask must be bool"),
        ({"key_frames": torch.zeros(2, 1, dtype=torch.int64)}, "key_frames"),
        ({"key_frames": torch.zeros(1, 1)}, "key_frames must be int"),
        ({"patch": 3.0}, "odd"),
        ({"start": torch.zeros(1, 1, 4, 4, 3, dtype=torch.int32)}, "start"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    x = torch.zeros(1, 1, 8, 8, 2)
    with pytest.raises(ValueError, match=message) as error:
        patch_match(x, x, **options)
    assert "\n" not in str(error.value)
