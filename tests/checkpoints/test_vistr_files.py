"""Files of VisTR, DETR and Deformable DETR, made up with small sizes under the published names."""

import argparse
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from lightvid.attention.cross import Memory, References
from lightvid.backbone.block import TokenContext
from lightvid.checkpoints import load
from lightvid.checkpoints.formats import FORMATS
from lightvid.errors import CheckpointError
from lightvid.networks import deformable_vistr
from lightvid.segmentation import SegmenterOptions

C, HIDDEN, CLASSES, INSTANCES, FRAMES = 128, 48, 5, 3, 2
RESNET = {"embedding_size": 8, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
SMALL = {"model": "resnet", "stem_options": {"options": RESNET}}


def random_state(**modules):
    """The tensors of modules, all of them random; `__` in a keyword stands for a dot."""
    return {
        f"{start.replace('__', '.')}.{name}": torch.randn_like(tensor)
        for start, module in modules.items()
        for name, tensor in module.state_dict().items()
    }


def resnet_state():
    """A ResNet of basic blocks under torchvision's names."""
    sizes, state = [8, *RESNET["hidden_sizes"]], {"conv1.weight": torch.randn(8, 3, 7, 7)}
    norms = {"bn1": 8}
    for stage in range(1, 5):
        before, after = sizes[stage - 1 : stage + 1]
        for name, kernel, given in (("conv1", 3, before), ("conv2", 3, after), ("downsample.0", 1, before)):
            state[f"layer{stage}.0.{name}.weight"] = torch.randn(after, given, kernel, kernel)
        norms |= {f"layer{stage}.0.{name}": after for name in ("bn1", "bn2", "downsample.1")}
    for name, width in norms.items():
        state |= {f"{name}.{kind}": torch.rand(width) for kind in ("weight", "bias", "running_mean", "running_var")}
    return {f"backbone.0.body.{name}": tensor for name, tensor in state.items()}


def detr_state(classes=92, queries=10):
    """A detector with one layer of encoder and decoder, without its masks."""
    layer = partial(dict, d_model=C, nhead=8, dim_feedforward=HIDDEN)
    return resnet_state() | random_state(
        input_proj=nn.Conv2d(32, C, 1),
        transformer__encoder__layers__0=nn.TransformerEncoderLayer(**layer()),
        transformer__decoder__layers__0=nn.TransformerDecoderLayer(**layer()),
        transformer__decoder__norm=nn.LayerNorm(C),
        class_embed=nn.Linear(C, classes),
        **{f"bbox_embed__layers__{index}": nn.Linear(C, width) for index, width in enumerate((C, C, 4))},
        query_embed=nn.Embedding(queries, C),
    )


def vistr_state():
    """The same for clips, with masks."""
    detector = detr_state(CLASSES + 2, INSTANCES * FRAMES)
    widths = [C + 8, C + 8, C // 2, C // 4, C // 8, C // 16]
    masks = random_state(
        **{f"mask_head__lay{n}": nn.Conv2d(widths[n - 1], widths[n], 3) for n in range(1, 5)},
        **{f"mask_head__gn{n}": nn.GroupNorm(8, widths[n]) for n in range(1, 6)},
        **{f"mask_head__adapter{n}": nn.Conv2d((32, 16, 16)[n - 1], widths[n + 1], 1) for n in range(1, 4)},
        mask_head__conv_offset=nn.Conv2d(C // 8, 18, 1),
        mask_head__dcn=nn.Conv2d(C // 8, C // 16, 3, bias=False),
        bbox_attention__q_linear=nn.Linear(C, C),
        bbox_attention__k_linear=nn.Linear(C, C),
        **{f"insmask_head__{n}": nn.Conv3d(8 if n == 0 else 12, 12, 3) for n in (0, 3, 6)},
        **{f"insmask_head__{n}": nn.GroupNorm(4, 12) for n in (1, 4, 7)},
        insmask_head__9=nn.Conv3d(12, 1, 1),
    )
    return {f"vistr.{name}": tensor for name, tensor in detector.items()} | masks


def deformable_detr_state(levels=4, width=256):
    """One layer of Deformable DETR's encoder and decoder, 8 heads, 4 points."""

    def attention():
        numbers = 8 * levels * 4
        return {
            "sampling_offsets": nn.Linear(width, 2 * numbers),
            "attention_weights": nn.Linear(width, numbers),
            "value_proj": nn.Linear(width, width),
            "output_proj": nn.Linear(width, width),
        }

    encoder, decoder = "transformer__encoder__layers__0", "transformer__decoder__layers__0"
    inputs = [(16, 1), (32, 1), (32, 1), (32, 3)] if levels == 4 else [(32, 1)]
    return resnet_state() | random_state(
        **{f"input_proj__{n}__0": nn.Conv2d(c, width, kernel) for n, (c, kernel) in enumerate(inputs)},
        **{f"input_proj__{n}__1": nn.GroupNorm(32, width) for n in range(len(inputs))},
        **{f"{encoder}__self_attn__{name}": layer for name, layer in attention().items()},
        **{f"{decoder}__cross_attn__{name}": layer for name, layer in attention().items()},
        **{f"{decoder}__self_attn": nn.MultiheadAttention(width, 8)},
        **{f"{part}__linear1": nn.Linear(width, HIDDEN) for part in (encoder, decoder)},
        **{f"{part}__linear2": nn.Linear(HIDDEN, width) for part in (encoder, decoder)},
        **{f"{encoder}__norm{n}": nn.LayerNorm(width) for n in (1, 2)},
        **{f"{decoder}__norm{n}": nn.LayerNorm(width) for n in (1, 2, 3)},
        transformer__reference_points=nn.Linear(width, 2),
        class_embed__0=nn.Linear(width, 91),
        query_embed=nn.Embedding(300, 2 * width),
    )


def assert_same(network, state, pairs):
    own = network.state_dict()
    for published, mine in pairs.items():
        assert torch.equal(own[mine].flatten(), state[published].flatten()), published


def of_layers(layers):
    return {f"{name}.{kind}": f"{mine}.{kind}" for name, mine in layers.items() for kind in ("weight", "bias")}


def below(state, start):
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def test_every_tensor_of_a_vistr_file_arrives():
    state = vistr_state()
    network = load("vistr_r50", state, frames=FRAMES, **SMALL)
    assert network.checkpoint_report.complete
    parts = [part for name, t in state.items() for part in (t.chunk(3) if ".in_proj_" in name else [t])]
    own = network.state_dict()
    assert len(own) == len(parts)
    assert sorted(t.double().sum().item() for t in own.values()) == sorted(t.double().sum().item() for t in parts)
    assert (network.decoder.classes, network.decoder.queries.instances) == (CLASSES, INSTANCES)


def test_layers_of_a_vistr_file_compute_what_pytorchs_transformer_layers_compute():
    state = vistr_state()
    network = load("vistr_r50", state, frames=FRAMES, **SMALL)
    tokens, queries = torch.randn(1, FRAMES, 3, 4, C), torch.randn(1, INSTANCES * FRAMES, C)
    encoder = nn.TransformerEncoderLayer(C, 8, HIDDEN, batch_first=True).eval()
    encoder.load_state_dict(below(state, "vistr.transformer.encoder.layers.0."))
    decoder = nn.TransformerDecoderLayer(C, 8, HIDDEN, batch_first=True).eval()
    decoder.load_state_dict(below(state, "vistr.transformer.decoder.layers.0."))
    with torch.inference_mode():
        result = network.backbone.blocks[0](tokens, TokenContext())
        torch.testing.assert_close(result, encoder(tokens.flatten(1, 3)).view_as(tokens), rtol=1e-3, atol=1e-3)
        result = network.decoder.layers[0](queries, torch.zeros(1), Memory(tokens), References(torch.empty(0)))
        torch.testing.assert_close(result, decoder(queries, tokens.flatten(1, 3)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("zip_format", [True, False])
def test_a_trainers_file_with_its_arguments_loads(tmp_path, zip_format):
    state = vistr_state()
    content = {"model": state, "optimizer": {"state": {}}, "epoch": 17, "args": argparse.Namespace(lr=1e-4, masks=True)}
    torch.save(content, tmp_path / "vistr.pth", _use_new_zipfile_serialization=zip_format)
    network = load("vistr_r50", tmp_path / "vistr.pth", frames=FRAMES, **SMALL)
    assert network.checkpoint_report.complete
    assert_same(network, state, {"vistr.query_embed.weight": "decoder.queries.table"})


class Surprise(argparse.Namespace):
    made: list[str] = []  # noqa: RUF012

    def __setstate__(self, state):
        self.made.append("run")


@pytest.mark.parametrize("zip_format", [True, False])
def test_no_other_class_is_made_from_a_file(tmp_path, zip_format):
    path = tmp_path / "bad.pth"
    torch.save({"model": vistr_state(), "args": Surprise(lr=1)}, path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(CheckpointError, match=r"Surprise\), which is never run"):
        load("vistr_r50", path)
    assert not Surprise.made


def test_a_namespace_may_hold_no_code_either(tmp_path):
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"args": argparse.Namespace(then=print)}, protocol=2))
    with pytest.raises(CheckpointError, match="print"):
        load("vistr_r50", tmp_path / "bad.pth")


@pytest.mark.parametrize("prefix", ["", "detr.", "vistr."])
def test_a_detector_fills_all_but_classes_queries_and_masks(prefix):
    state = detr_state()
    network = load("vistr_r50", {f"{prefix}{name}": tensor for name, tensor in state.items()}, frames=FRAMES, **SMALL)
    report = network.checkpoint_report
    assert set(report.mismatched) == {
        "decoder.class_heads.0.weight", "decoder.class_heads.0.bias", "decoder.queries.table",
    }  # fmt: skip
    assert report.unexpected == []
    assert all(name.startswith("mask_head.") for name in report.missing)
    assert f"{len(report.missing)} missing, 0 unexpected, 3 of another shape" in str(report)
    assert not report.complete
    assert (network.decoder.classes, network.decoder.queries.instances) == (40, 10)
    shortcut = "stem.body.encoder.stages.3.layers.0.shortcut.normalization.running_var"
    pairs = {"backbone.0.body.layer4.0.downsample.1.running_var": shortcut}
    assert_same(network, state, pairs | of_layers({"bbox_embed.layers.2": "decoder.box_heads.0.layers.2"}))


def test_a_vistr_file_starts_training_on_other_classes():
    network = load("vistr_r50", vistr_state(), frames=FRAMES, classes=2, **SMALL)
    assert network.checkpoint_report.mismatched == ["decoder.class_heads.0.weight", "decoder.class_heads.0.bias"]
    assert network.checkpoint_report.missing == []
    assert network(torch.randn(1, FRAMES, 3, 32, 32)).logits.shape == (1, FRAMES, INSTANCES, 4)


def test_a_vistr_file_starts_training_with_another_number_of_instances():
    network = load("vistr_r50", vistr_state(), frames=FRAMES, instances=7, **SMALL)
    assert network.checkpoint_report.mismatched == ["decoder.queries.table"]
    assert network.decoder.queries.instances == 7


def test_queries_that_are_no_multiple_of_the_frames_ask_for_the_right_number():
    with pytest.raises(CheckpointError, match="6 queries are not a multiple of 36 frames: give frames="):
        load("vistr_r50", vistr_state(), **SMALL)


@pytest.mark.parametrize(
    ("name", "in_file", "expected"), [("vistr_r50", 23, 23), ("vistr_r101", 6, 6), ("vistr_r101", 0, 23)]
)
def test_the_depth_of_the_resnet_comes_from_the_file_and_otherwise_from_the_name(name, in_file, expected):
    state = {f"vistr.backbone.0.body.layer3.{block}.bn1.weight": torch.ones(256) for block in range(in_file)}
    with torch.device("meta"):
        network = FORMATS[name].create(state)
    assert len(network.stem.body.encoder.stages[2].layers) == expected


SHARED = of_layers(
    {
        "transformer.encoder.layers.0.self_attn.value_proj": "backbone.blocks.0.mixer.value",
        "transformer.encoder.layers.0.self_attn.output_proj": "backbone.blocks.0.mixer.output",
        "transformer.encoder.layers.0.norm1": "backbone.blocks.0.mixer_norm",
        "transformer.encoder.layers.0.norm2": "backbone.blocks.0.feed_forward_norm",
        "transformer.encoder.layers.0.linear1": "backbone.blocks.0.feed_forward.linear1",
        "transformer.encoder.layers.0.linear2": "backbone.blocks.0.feed_forward.linear2",
        "transformer.decoder.layers.0.norm1": "decoder.layers.0.cross_attention_norm",
        "transformer.decoder.layers.0.norm2": "decoder.layers.0.self_attention_norm",
        "transformer.decoder.layers.0.norm3": "decoder.layers.0.feed_forward_norm",
        "transformer.decoder.layers.0.linear1": "decoder.layers.0.feed_forward.linear1",
        "transformer.decoder.layers.0.linear2": "decoder.layers.0.feed_forward.linear2",
        "transformer.decoder.layers.0.self_attn.out_proj": "decoder.layers.0.self_attention.output",
    }
)


@pytest.mark.parametrize("levels", [1, 4])
@pytest.mark.parametrize(
    ("name", "cross", "further"),
    [
        ("vistr_r50", "cross_attention.attention", {}),
        ("deformable_vistr_r50", "cross_attention", {"transformer.reference_points": "decoder.reference"}),
    ],
)
def test_deformable_detr_gives_what_fits(name, cross, further, levels):
    state = deformable_detr_state(levels)
    network = load(name, state, frames=FRAMES, **SMALL)
    attention = {
        f"transformer.decoder.layers.0.cross_attn.{theirs}_proj": f"decoder.layers.0.{cross}.{theirs}"
        for theirs in ("value", "output")
    }
    projection = {f"input_proj.{2 if levels == 4 else 0}.0": "stem.projection"}
    assert_same(network, state, SHARED | of_layers({**attention, **projection, **further}))
    stacked = state["transformer.decoder.layers.0.self_attn.in_proj_weight"]
    own = network.decoder.layers[0].self_attention
    assert torch.equal(torch.cat([own.query.weight, own.key.weight, own.value.weight]), stacked)
    matched = len(SHARED) + 6 + 2 * (len(attention) + len(projection) + len(further)) + 65
    assert len(network.checkpoint_report.matched) == matched  # 6 of in_proj, 65 of the ResNet
    assert network.checkpoint_report.mismatched == ["decoder.queries.table"]
    assert {"decoder.norm.weight", "mask_head.deformable"} <= set(network.checkpoint_report.missing)
    assert any(part.endswith("sampling_offsets.weight") for part in network.checkpoint_report.unexpected)


def test_offsets_keep_their_own_start_when_deformable_detr_is_loaded():
    network = load("deformable_vistr_r50", deformable_detr_state(), frames=FRAMES, **SMALL)
    fresh = deformable_vistr(channels=256, hidden=HIDDEN, layers=1, **SMALL)
    for part in ("backbone.blocks.0.mixer", "decoder.layers.0.cross_attention"):
        for ours, start in zip(
            network.get_submodule(f"{part}.sampling").parameters(),
            fresh.get_submodule(f"{part}.sampling").parameters(),
            strict=True,
        ):
            assert torch.equal(ours, start)


def test_deformable_vistr_takes_values_and_outputs_of_a_vistr_file():
    state = vistr_state()
    network = load("deformable_vistr_r50", state, frames=FRAMES, points=4, **SMALL)
    start, own = "vistr.transformer", network.state_dict()
    for published, mine in (
        ("encoder.layers.0.self_attn", "backbone.blocks.0.mixer"),
        ("decoder.layers.0.multihead_attn", "decoder.layers.0.cross_attention"),
    ):
        assert torch.equal(own[f"{mine}.value.weight"], state[f"{start}.{published}.in_proj_weight"][2 * C :])
        assert torch.equal(own[f"{mine}.value.bias"], state[f"{start}.{published}.in_proj_bias"][2 * C :])
        assert torch.equal(own[f"{mine}.output.weight"], state[f"{start}.{published}.out_proj.weight"])
    report = network.checkpoint_report
    assert {name.split(".")[-3] for name in report.missing} | {"reference"} == {"sampling", "decoder", "reference"}
    assert all(name.split(".")[-2] in ("query", "key") for name in report.unexpected)
    assert report.mismatched == []


def test_a_published_network_says_how_to_segment_with_it():
    network = load("vistr_r50", {"vistr.transformer.decoder.norm.weight": torch.ones(384)})
    options = SegmenterOptions.of(network)
    assert (options.classification, options.frames, options.overlap) == ("softmax", 36, None)
    assert (options.shortest, options.longest) == (300, None)
    assert options.category_ids == list(range(1, 41))
    assert (options.category_names[0], options.category_names[-1]) == ("person", "tennis_racket")
    assert len(set(options.category_names)) == 40


def test_other_classes_than_the_published_ones_have_numbers_for_names():
    options = SegmenterOptions.of(load("vistr_r50", vistr_state(), frames=FRAMES, **SMALL))
    assert options.category_ids == [1, 2, 3, 4, 5]
    assert options.category_names[1] == "class 2"
    assert options.frames == FRAMES
