"""Every file that is shipped is valid, and recipes hold what their papers publish."""

from itertools import product

import pytest
import torch
from shipped_choices import names, with_root

from lightvid import networks
from lightvid.attention import DeformableAttention
from lightvid.building import build, check
from lightvid.checkpoints.building import build as build_module
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.networks import deformable_vistr, vistr


@pytest.mark.parametrize(("backbone", "data"), product(names("backbone"), names("data")))
def test_every_backbone_with_every_data_is_a_valid_configuration(backbone, data):
    check(compose(with_root(["task=inpaint", f"backbone={backbone}", f"data={data}"])))


@pytest.mark.parametrize("paper", names("paper"))
def test_every_paper_recipe_is_a_valid_configuration(paper):
    weights = ["task.network.stem.weights=resnet50.pth"] if "vistr" in paper else []
    check(compose(with_root([f"paper={paper}", *weights])))


@pytest.mark.parametrize("backbone", [*names("backbone"), *names("backbone/vis")])
def test_every_backbone_finds_instances(backbone):
    plain = compose(["task=vis", f"backbone={backbone}"])
    check(plain)
    build_module(plain["task"]["init_args"]["network"])


def test_a_recipe_brings_its_task_and_refuses_another():
    assert compose(["paper=vistr", "data.root=/x", "task.network.stem.weights=null"])["choice"]["task"] == "vis"
    with pytest.raises(ConfigurationError, match="paper=sttn is a recipe for task=inpaint, not for task=vis"):
        compose(["paper=sttn", "task=vis"])


@pytest.mark.parametrize(("paper", "preset"), [("vistr", vistr), ("deformable_vistr", deformable_vistr)])
def test_vis_recipes_build_the_published_networks_with_their_start(paper, preset):
    plain = compose([f"paper={paper}", "data.root=/x", "task.network.stem.weights=null"])
    task = plain["task"]["init_args"]
    assert (plain["data"]["init_args"]["frames"], task["window"], task["shortest"]) == (36, 36, 300)
    assert task["optimizer"]["init_args"]["lr"] == 1e-4
    assert plain["trainer"]["max_epochs"] == {"vistr": 18, "deformable_vistr": 50}[paper]
    with torch.device("meta"):
        expected = preset()
    network = build_module(task["network"])
    network.set_classes(40)
    assert {n: p.shape for n, p in network.named_parameters()} == {n: p.shape for n, p in expected.named_parameters()}
    if paper == "deformable_vistr":
        start = network.backbone.blocks[0].mixer.sampling.query.bias
        assert torch.equal(start, deformable_vistr(layers=1).backbone.blocks[0].mixer.sampling.query.bias)


@pytest.mark.parametrize("paper", ["vistr", "deformable_vistr"])
def test_the_learning_rates_of_a_recipe_are_of_layers_that_its_network_has(paper):
    plain = compose([f"paper={paper}", "task.network.stem.weights=null", *with_root([])])
    optimizer = build(plain).task.make_optimizer()
    assert {group["lr"] for group in optimizer.param_groups} == {1e-4, 1e-5}


@pytest.mark.parametrize("trainer", names("trainer/vis"))
def test_every_trainer_file_of_instances_is_a_valid_configuration(trainer):
    check(compose(["task=vis", f"trainer={trainer}"]))


@pytest.mark.parametrize("trainer", names("trainer"))
def test_every_trainer_file_composes(trainer):
    assert compose([f"trainer={trainer}"])["trainer"]["precision"]


def test_sttn_recipe_holds_the_published_numbers():
    plain = compose(with_root(["paper=sttn"]))
    task, data = plain["task"]["init_args"], plain["data"]["init_args"]
    assert (data["height"], data["width"], data["frames"], data["batch_size"]) == (240, 432, 5, 8)
    assert plain["trainer"]["max_steps"] == 500_000
    assert task["generator_optimizer"]["init_args"] == {"lr": 1e-4, "betas": [0.0, 0.99]}
    assert task["schedule"]["init_args"] == {"milestones": [150_000, 300_000], "gamma": 0.1}
    assert (task["hole_weight"], task["valid_weight"], task["adversarial_weight"]) == (1, 1, 0.01)
    assert task["gradient_clip"] is None
    assert task["ema_decay"] is None
    assert task["accumulate"] == 1
    assert build(plain).task.network.backbone is not None


def test_fast_sttn_differs_from_sttn_where_its_paper_does():
    plain = compose(with_root(["paper=fast_sttn"]))
    backbone = plain["backbone"]["init_args"]
    assert backbone["residual"] == "reversible_split"
    assert backbone["feed_forward"]["init_args"]["chunks"] > 1
    assert plain["data"]["init_args"]["batch_size"] == 2
    assert plain["trainer"]["max_steps"] == 215_000


@pytest.mark.parametrize(
    ("paper", "generator", "discriminator"),
    [
        ("sttn", 16_556_163, 17_832_256),
        ("dstt", 34_529_155, 4_461_728),
        ("fuseformer", 36_591_299, 4_461_728),
    ],
)
def test_published_networks_have_the_published_parameter_counts(paper, generator, discriminator):
    task = build(compose(with_root([f"paper={paper}"]))).task
    assert sum(p.numel() for p in task.network.parameters()) == generator
    assert sum(p.numel() for p in task.discriminator.parameters()) == discriminator


@pytest.mark.parametrize("paper", ["dstt", "fuseformer"])
def test_recipes_and_presets_describe_the_same_network(paper):
    task = build(compose(with_root([f"paper={paper}"]))).task
    preset = getattr(networks, paper)()
    assert {name: p.shape for name, p in task.network.named_parameters()} == {
        name: p.shape for name, p in preset.named_parameters()
    }
    mine, published = task.network.backbone.blocks, preset.backbone.blocks
    assert [type(block.mixer) for block in mine] == [type(block.mixer) for block in published]
    assert {block.residual_from_norm for block in mine} == {block.residual_from_norm for block in published}


def test_a_published_network_may_get_another_residual_scheme_by_name():
    backbone = compose(with_root(["paper=dstt", "backbone=reversible"]))["backbone"]["init_args"]
    assert backbone["residual"] == "reversible"
    assert not backbone["residual_from_norm"]
    assert len(backbone["mixer"]) == 2


def test_deformable_attention_keeps_its_start_in_a_published_recipe():
    task = build(compose(with_root(["paper=dstt", "backbone=deformable"]))).task
    start = DeformableAttention(512, heads=4, points=16).sampling.query
    for block in task.network.backbone.blocks:
        assert torch.equal(block.mixer.sampling.query.bias, start.bias)
        assert torch.equal(block.mixer.sampling.query.weight, start.weight)


def test_the_shared_backbone_is_one_for_all_tasks():
    one, other, both = (
        compose([f"task={task}", "backbone=shared"])["backbone"] for task in ("inpaint", "vis", "joint")
    )
    assert one == other == both == compose(["task=joint"])["backbone"]
