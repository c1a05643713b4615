"""Checkpoints of runs with task=vis."""

import copy

import pytest
import torch

from lightvid.checkpoints import load
from lightvid.checkpoints.building import build
from lightvid.configuration import compose
from lightvid.errors import CheckpointError
from lightvid.segmentation import SegmenterOptions

CATEGORIES = [[3, "dog"], [11, "kite"], [12, "boat"]]
ARGUMENTS = {"window": 4, "overlap": 2, "shortest": 96, "longest": None}


def node(path, **arguments):
    return {"class_path": f"lightvid.{path}", "init_args": arguments}


def network_tree():
    """A small network with queries from centres, whose decoder learns the number of classes from the data."""
    resnet = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    return node(
        "networks.InstanceSegmenter",
        stem=node("stems.ImageStem", channels=24, model="resnet", options=resnet, normalisation="group", frozen=0),
        backbone=node(
            "backbone.SpatioTemporalTransformer",
            channels=24,
            blocks=1,
            mixer=node("attention.DeformableAttention", heads=2, points=2),
            feed_forward=node("backbone.MLP", hidden=24),
            norm="pre",
            positions=node("backbone.SinePositions", channels=24),
            positions_at="attention",
            final_norm=True,
        ),
        decoder=node(
            "heads.QueryDecoder",
            channels=24,
            classes=None,
            queries=node("heads.CentreQueries", instances=3),
            layers=1,
            cross_attention=node("attention.DeformableCrossAttention", heads=2, points=2),
            heads=2,
            hidden=24,
            refine_boxes=True,
        ),
        mask_head=node("heads.DynamicMaskHead", channels=24, feature_channels=[8, 16], width=16),
    )


def run_checkpoint(tree, **arguments):
    """A checkpoint as a run writes it, with an average that differs, and the averaged network."""
    network = build(tree)
    network.set_classes(len(CATEGORIES))
    state = {f"network.{name}": torch.zeros_like(value) for name, value in network.state_dict().items()}
    state |= {f"network_ema.module.{name}": value for name, value in network.state_dict().items()}
    state["network_ema.n_averaged"] = torch.tensor(7)
    task = {
        "class_path": "lightvid.tasks.InstanceSegmentation",
        "init_args": {"network": tree, **ARGUMENTS} | arguments,
    }
    content = {"state_dict": state, "lightvid_config": {"task": task}, "categories": CATEGORIES, "global_step": 3}
    return content, network.eval()


@pytest.mark.parametrize("name", ["vis", "vistr_r50", "deformable_vistr_r50"])
def test_a_runs_checkpoint_gives_the_averaged_network_with_the_classes_of_its_data(tmp_path, name):
    content, network = run_checkpoint(network_tree())
    torch.save(content, tmp_path / "best.ckpt")
    loaded = load(name, tmp_path / "best.ckpt")
    assert loaded.checkpoint_report.complete
    assert not loaded.training
    frames = torch.randn(1, 2, 3, 40, 56)
    with torch.inference_mode():
        expected, result = network(frames), loaded(frames)
    assert torch.equal(result.masks, expected.masks)
    assert result.logits.shape == (1, 2, 3, len(CATEGORIES))
    assert torch.equal(result.logits, expected.logits)


def test_without_an_average_the_network_itself_is_taken():
    content, _ = run_checkpoint(network_tree())
    state = {name: value for name, value in content["state_dict"].items() if name.startswith("network.")}
    loaded = load("vis", {**content, "state_dict": state})
    assert not any(value.any() for value in loaded.state_dict().values())


def test_the_network_says_how_to_segment_with_it():
    loaded = load("vis", run_checkpoint(network_tree())[0])
    assert SegmenterOptions.of(loaded) == SegmenterOptions(
        classification="sigmoid",
        frames=4,
        category_ids=[3, 11, 12],
        category_names=["dog", "kite", "boat"],
        shortest=96,
        longest=None,
        overlap=2,
    )


def test_the_network_of_the_default_configuration_comes_back():
    configuration = compose(["task=vis"])
    network = build(configuration["task"]["init_args"]["network"])
    network.set_classes(2)
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    content = {"state_dict": state, "lightvid_config": configuration, "categories": CATEGORIES[:2]}
    loaded = load("vis", content)
    assert loaded.checkpoint_report.complete
    assert SegmenterOptions.of(loaded).frames == configuration["clip"]["frames"]


def test_the_file_that_the_stem_began_with_is_not_needed_again():
    tree = network_tree()
    content, network = run_checkpoint(tree)
    content["lightvid_config"]["task"]["init_args"]["network"] = started = copy.deepcopy(tree)
    started["init_args"]["stem"]["init_args"]["weights"] = "/gone/resnet.pth"
    loaded = load("vis", content)
    assert torch.equal(loaded.stem.projection.weight, network.stem.projection.weight)
    assert started["init_args"]["stem"]["init_args"]["weights"] == "/gone/resnet.pth"


def error_of(name, content, **options):
    with pytest.raises(CheckpointError) as error:
        load(name, content, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_runs_of_another_task_are_refused():
    content, _ = run_checkpoint(network_tree())
    assert "task=vis: load it as vis" in error_of("sttn", content)
    assert "classes cannot be given" in error_of("vis", content, classes=3)
    del content["categories"]
    assert "task=inpaint: load it as sttn" in error_of("vis", content)


def test_what_no_run_writes_is_named():
    content, _ = run_checkpoint(network_tree())
    assert "no list of id and name" in error_of("vis", {**content, "categories": ["dog", "kite"]})
    content["lightvid_config"]["task"]["init_args"]["network"] = node("networks.TPatchGAN", channels=4)
    assert "no InstanceSegmenter" in error_of("vis", content)


def test_a_published_file_is_not_loaded_as_a_run():
    message = error_of("vis", {"model": {"vistr.class_embed.bias": torch.zeros(42)}})
    assert "no checkpoint of a run; published ones load as deformable_vistr_r50, vistr_r50, vistr_r101" in message
