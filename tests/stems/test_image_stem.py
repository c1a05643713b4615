"""Image backbones as stems: their weights' names, what stands in place of batch normalisation, what learns."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.stems import ImageStem
from lightvid.stems.image import make_backbone
from lightvid.stems.normalisation import FrozenBatchNorm2d, replace_batch_norm
from lightvid.stems.resnet_names import resnet_names

ORACLE = Path(__file__).resolve().parents[2] / ".." / "shared" / "oracles" / "vistr_r50_96x160.json"
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "layer_type": "basic"}


def small(**options):
    return ImageStem(12, model="resnet", options=SMALL, **options)


@pytest.mark.parametrize(("model", "tensors"), [("resnet50", 265), ("resnet101", 520)])
def test_a_resnet_has_a_tensor_for_each_of_torchvisions(model, tensors):
    with torch.device("meta"):
        body = make_backbone(model, None)
    names = resnet_names(body)
    assert len(names) == tensors
    own = {name for name in body.state_dict() if not name.endswith("num_batches_tracked")}
    assert set(names.values()) == own


@pytest.mark.skipif(not ORACLE.is_file(), reason="no list of published names beside us")
def test_names_and_shapes_of_a_resnet_are_the_published_ones():
    prefix = "vistr.backbone.0.body."
    shapes = json.loads(ORACLE.read_text())["state_dict"]
    published = {name.removeprefix(prefix): tuple(s) for name, s in shapes.items() if name.startswith(prefix)}
    with torch.device("meta"):
        body = make_backbone("resnet50", None)
    state = body.state_dict()
    assert {name: tuple(state[mine].shape) for name, mine in resnet_names(body).items()} == published


def test_weights_under_torchvisions_names_fill_the_stem(tmp_path):
    body = make_backbone("resnet", SMALL)
    weights = {name: torch.rand_like(body.state_dict()[mine]) for name, mine in resnet_names(body).items()}
    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.1.bias", "layer3.0.conv2.weight"} <= set(weights)
    torch.save(weights | {"fc.weight": torch.rand(3, 24)}, tmp_path / "resnet.pth")
    state = small(weights=str(tmp_path / "resnet.pth")).state_dict()
    assert torch.equal(state["body.embedder.embedder.convolution.weight"], weights["conv1.weight"])
    shortcut = state["body.encoder.stages.1.layers.0.shortcut.normalization.running_mean"]
    assert torch.equal(shortcut, weights["layer2.0.downsample.1.running_mean"])


def test_weights_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "resnet.pth"

    def message():
        with pytest.raises(CheckpointError) as error:
            small(weights=str(path))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message() == f"{path}: no such checkpoint file"
    path.write_bytes(b"nothing")
    assert "damaged" in message()
    torch.save({"conv1.weight": torch.zeros(8, 3, 7, 7)}, path)
    assert "bn1.bias is not in it" in message()
    body = make_backbone("resnet", SMALL | {"hidden_sizes": [8, 16, 32]})
    torch.save({name: body.state_dict()[mine] for name, mine in resnet_names(body).items()}, path)
    assert "size mismatch" in message()


def test_frozen_batch_norm_is_batch_norm_in_evaluation_and_never_changes():
    norm = nn.BatchNorm2d(6)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    holder = nn.Sequential(norm)
    x = torch.randn(2, 6, 5, 4)
    expected = norm.eval()(x)
    replace_batch_norm(holder, "frozen")
    frozen = holder.train()[0]
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    torch.testing.assert_close(frozen(x), expected)
    assert isinstance(frozen, FrozenBatchNorm2d)
    assert not list(frozen.parameters())
    assert set(before) == {"weight", "bias", "running_mean", "running_var"}
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


def test_group_normalisation_takes_the_place_of_every_batch_normalisation():
    stem = small(normalisation="group")
    kinds = {type(module).__name__ for module in stem.modules()}
    assert "GroupNorm" in kinds
    assert not {"BatchNorm2d", "FrozenBatchNorm2d"} & kinds


@pytest.mark.parametrize(("height", "width"), [(97, 161), (64, 96), (1, 33)])
def test_maps_are_of_a_quarter_of_the_size_and_then_of_half_each(height, width):
    stem = small(tokens_from=-2)
    tokens, maps, padding = stem(torch.randn(2, 3, 3, height, width))
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (4, 8, 16)]
    assert [tuple(m.shape[-2:]) for m in maps] == sizes
    assert [m.shape[1] for m in maps] == stem.feature_channels == [8, 16, 24]
    assert tokens.shape == (2, 3, *sizes[1], 12)
    assert padding is None


@pytest.mark.parametrize("tokens_from", [-1, -2])
def test_a_padded_clip_has_as_many_tokens_as_it_has_alone(tokens_from):
    stem = small(tokens_from=tokens_from)
    for height, width in ((60, 33), (64, 90), (100, 97)):
        alone = stem(torch.randn(1, 1, 3, height, width)).tokens.shape[2:4]
        mask = torch.ones(1, 1, 100, 100, dtype=torch.bool)
        mask[..., :height, :width] = False
        inside = ~stem(torch.randn(1, 1, 3, 100, 100), mask).padding[0, 0]
        assert (inside.sum(0).max().item(), inside.sum(1).max().item()) == tuple(alone)


def test_recomputed_maps_and_gradients_are_the_same():
    kept, recomputed = small(frozen=0), small(frozen=0, recompute=True)
    recomputed.load_state_dict(kept.state_dict())
    frames = torch.randn(1, 2, 3, 32, 40)

    def gradients(stem):
        tokens, maps, _ = stem(frames)
        (tokens.square().sum() + sum(m.square().sum() for m in maps)).backward()
        return [p.grad for p in stem.parameters()]

    torch.testing.assert_close(gradients(recomputed), gradients(kept))


@pytest.mark.parametrize(("frozen", "learning"), [(0, 4), (1, 3), (2, 2), (-1, 0)])
def test_frozen_counts_the_first_layers_and_then_stages(frozen, learning):
    body = small(frozen=frozen).body
    parts = [body.embedder, *body.encoder.stages]
    learns = [all(p.requires_grad for p in part.parameters()) for part in parts]
    assert learns == [False] * (4 - learning) + [True] * learning
    assert not any(p.requires_grad for part in parts[: 4 - learning] for p in part.parameters())


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("kind", ["ConvNextV2", "Swin"])
def test_a_backbone_of_transformers_comes_from_a_local_folder(tmp_path, kind):
    import transformers

    sizes = {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1]}
    if kind == "Swin":
        sizes = {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    configuration = getattr(transformers, f"{kind}Config")(**sizes, out_features=["stage1", "stage2"])
    saved = getattr(transformers, f"{kind}Backbone")(configuration).half()
    saved.save_pretrained(tmp_path)
    stem = ImageStem(12, model=str(tmp_path), frozen=1)
    assert stem.feature_channels == [8, 16]
    for name, value in saved.state_dict().items():
        torch.testing.assert_close(stem.body.state_dict()[name], value.float(), msg=name)
    tokens, maps, _ = stem(torch.randn(1, 2, 3, 32, 48))
    assert tokens.shape == (1, 2, 4, 6, 12)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 12), (2, 16, 4, 6)]
    learning = {part for name, p in stem.body.named_parameters() if p.requires_grad for part in name.split(".")}
    assert "embeddings" not in learning
    assert "encoder" in learning


def test_what_does_not_exist_is_named_in_one_line(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for options, message in (
        ({"model": str(tmp_path)}, "is no image backbone: give resnet50, resnet101, a folder or a name of the hub"),
        ({"model": str(tmp_path / "none")}, "is no image backbone"),
        ({"model": str(tmp_path), "options": SMALL}, "options are for resnet, resnet50 and resnet101"),
        ({"model": "resnet", "options": {"depth": 3}}, "unknown option 'depth' of a ResNet"),
        ({"model": "resnet", "options": SMALL, "normalisation": "layer"}, "choose one of frozen, batch, group"),
        ({"model": "resnet", "options": SMALL, "tokens_from": -4}, "-1 to -3, got -4"),
        ({"model": "resnet", "options": SMALL, "tokens_from": 0}, "-1 to -3, got 0"),
    ):
        with pytest.raises(ConfigurationError) as error:
            ImageStem(8, **options)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def saved(folder, kind, **options):
    import transformers

    configuration = getattr(transformers, f"{kind}Config")(**options)
    getattr(transformers, f"{kind}Backbone")(configuration).save_pretrained(folder)
    return str(folder)


CONVNEXT = {"num_stages": 3, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1]}


@pytest.mark.parametrize(("height", "width"), [(97, 161), (64, 96), (1, 33), (30, 50)])
@pytest.mark.parametrize("tokens_from", [-1, -2])
def test_maps_of_a_backbone_that_rounds_down_have_the_sizes_of_a_resnets(tmp_path, height, width, tokens_from):
    stem = ImageStem(12, model=saved(tmp_path, "ConvNextV2", **CONVNEXT), tokens_from=tokens_from)
    mask = torch.zeros(1, 2, height, width, dtype=torch.bool)
    mask[..., : width // 2] = True
    tokens, maps, padding = stem(torch.randn(1, 2, 3, height, width), mask)
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (4, 8, 16)]
    assert [tuple(m.shape[-2:]) for m in maps] == sizes
    assert padding.shape == tokens.shape[:4] == (1, 2, *sizes[tokens_from])
    assert stem.strides == [4, 8, 16]


def test_frames_that_need_no_filling_are_encoded_as_they_are(tmp_path):
    stem = ImageStem(12, model=saved(tmp_path, "ConvNextV2", **CONVNEXT))
    frames = torch.randn(1, 2, 3, 32, 48)
    alone = stem.body(frames[0]).feature_maps
    torch.testing.assert_close(stem(frames).features, list(alone))
    filled = torch.nn.functional.pad(frames[..., :30, :45], (0, 3, 0, 2))
    torch.testing.assert_close(stem(frames[..., :30, :45]).tokens, stem(filled).tokens)


def test_padding_of_tokens_follows_the_strides_that_a_backbone_has(tmp_path):
    options = {"num_encoder_blocks": 2, "strides": [4, 4], "patch_sizes": [7, 3], "sr_ratios": [4, 1]}
    options |= {"hidden_sizes": [8, 16], "num_attention_heads": [1, 1], "mlp_ratios": [1, 1], "depths": [1, 1]}
    stem = ImageStem(12, model=saved(tmp_path, "PvtV2", **options), frozen=0)
    mask = torch.ones(1, 1, 40, 50, dtype=torch.bool)
    mask[..., :32, :17] = False
    tokens, maps, padding = stem(torch.randn(1, 1, 3, 40, 50), mask)
    assert [tuple(m.shape[-2:]) for m in maps] == [(10, 13), (3, 4)]
    assert tokens.shape[:4] == (1, 1, 3, 4)
    assert padding[0, 0].tolist() == [[False, False, True, True]] * 2 + [[True] * 4]


VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}


@pytest.mark.parametrize(
    ("kind", "options"), [("Dinov2", {**VIT, "patch_size": 14}), ("VitDet", {**VIT, "patch_size": 16})]
)
def test_a_backbone_without_a_map_at_a_quarter_is_refused(tmp_path, kind, options):
    with pytest.raises(ConfigurationError, match="the heads need 1/4") as error:
        ImageStem(12, model=saved(tmp_path, kind, **options))
    assert "\n" not in str(error.value)


def test_options_that_a_backbone_has_no_use_for_are_refused(tmp_path):
    model = saved(tmp_path / "model", "ConvNextV2", **CONVNEXT)
    for options, message in (
        ({"model": model, "weights": "resnet.pth"}, "resnet.pth is for a ResNet"),
        ({"model": model, "frozen": 5}, "frozen: 5 parts of 4"),
        ({"model": "resnet", "options": SMALL, "frozen": 9}, "frozen: 9 parts of 4"),
    ):
        with pytest.raises(ConfigurationError, match=message) as error:
            ImageStem(8, **options)
        assert "\n" not in str(error.value)
    assert not any(p.requires_grad for p in ImageStem(8, model=model, frozen=4).body.encoder.parameters())
