"""What a user may write on the command line, and what a mistake is answered with."""

from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
import torch

from lightvid import networks
from lightvid.attention import DeformableAttention
from lightvid.building import build, check
from lightvid.checkpoints.building import build as build_module
from lightvid.configuration import compose, compose_linked
from lightvid.configuration.files import load_yaml, save
from lightvid.errors import ConfigurationError, LightvidError
from lightvid.networks import deformable_vistr, vistr

CONFIGS = Path(str(files("lightvid.configs")))


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def with_root(arguments: list[str]) -> list[str]:
    return [*arguments, "data.root=somewhere", "loggers={}"]


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


def test_a_file_for_one_task_goes_before_that_for_all():
    assert compose(["task=vis"])["data"]["class_path"] == "lightvid.datamodules.SampleInstances"
    assert compose(["task=inpaint"])["data"]["class_path"] == "lightvid.datamodules.SampleData"


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


def test_overrides_may_leave_out_init_args_and_follow_references():
    plain = compose(["task.adversarial_weight=0.5", "task.network.backbone.blocks=3", "trainer.max_steps=7"])
    assert plain["task"]["init_args"]["adversarial_weight"] == 0.5
    assert plain["task"]["init_args"]["network"]["init_args"]["backbone"]["init_args"]["blocks"] == 3
    assert plain["trainer"]["max_steps"] == 7


def test_one_size_reaches_all_who_use_it():
    plain = compose(["clip.height=48", "clip.frames=3"])
    assert (plain["data"]["init_args"]["height"], plain["data"]["init_args"]["frames"]) == (48, 3)


def test_several_backbone_files_are_merged_in_order():
    assert compose(["backbone=fast_sttn,reversible"])["backbone"]["init_args"]["residual"] == "reversible"
    assert compose(["backbone=additive checkpoint"])["backbone"]["init_args"]["residual"] == "checkpoint"


def test_mixers_that_take_turns_replace_a_single_one_and_the_other_way_round():
    turns = compose(["backbone=decoupled,reversible", "backbone.mixer.0.zones=3"])["backbone"]["init_args"]
    assert [mixer["class_path"].rpartition(".")[2] for mixer in turns["mixer"]] == [
        "TemporalAttention",
        "SpatialAttention",
    ]
    assert turns["mixer"][0]["init_args"] == {"heads": 4, "zones": 3}
    single = compose(["backbone=decoupled,full"])["backbone"]["init_args"]["mixer"]
    assert single == {"class_path": "lightvid.attention.FullAttention", "init_args": {"heads": 4}}


def test_a_misspelt_argument_inside_a_list_is_named():
    with pytest.raises(ConfigurationError, match="hedas': did you mean 'heads'") as caught:
        check(compose(["backbone=decoupled", "backbone.mixer.0.hedas=3"]))
    assert "\n" not in str(caught.value)


def test_deformable_attention_keeps_its_start_in_a_published_recipe():
    task = build(compose(with_root(["paper=dstt", "backbone=deformable"]))).task
    start = DeformableAttention(512, heads=4, points=16).sampling.query
    for block in task.network.backbone.blocks:
        assert torch.equal(block.mixer.sampling.query.bias, start.bias)
        assert torch.equal(block.mixer.sampling.query.weight, start.weight)


def test_a_list_is_overridden_by_number_only():
    for step in ("heads", "2.heads"):
        with pytest.raises(
            ConfigurationError, match=f"number of a list's element, 0 to 1, in place of '{step[0]}"
        ) as caught:
            compose(["backbone=decoupled", f"backbone.mixer.{step}=2"])
        assert "\n" not in str(caught.value)


def test_another_class_starts_without_the_arguments_of_the_former():
    recipe = compose(with_root(["paper=sttn"]))["task"]["init_args"]["schedule"]
    assert set(recipe["init_args"]) == {"milestones", "gamma"}
    plain = compose(["task.schedule.class_path=torch.optim.lr_scheduler.ExponentialLR", "task.schedule.gamma=0.5"])
    assert plain["task"]["init_args"]["schedule"]["init_args"] == {"gamma": 0.5}


def test_a_callback_is_removed_with_one_key():
    assert compose(["callbacks.progress=null"])["callbacks"]["progress"] is None


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("task=inpant", ["inpant", "did you mean 'inpaint'"]),
        ("backbone=reversable", ["reversable", "did you mean 'reversible'"]),
        ("trainr.max_steps=3", ["trainr", "did you mean 'trainer'"]),
        ("clip.hieght=3", ["hieght", "did you mean 'height'"]),
        ("callbacks.bst.monitor=x", ["bst", "did you mean 'best'"]),
        ("task.adversarial_wieght=0.1", ["task.adversarial_wieght", "did you mean 'adversarial_weight'"]),
        ("task.network.backbone.bloks=2", ["backbone.bloks", "did you mean 'blocks'"]),
        ("backbone.mixer.divsions=[1]", ["divsions", "did you mean 'divisions'"]),
        ("trainer.max_stepz=3", ["trainer.max_stepz", "did you mean 'max_steps'"]),
        ("task.generator_optimizer.lrr=1", ["lrr", "did you mean 'lr'"]),
        ("callbacks.best.moniter=x", ["callbacks.best.moniter", "did you mean 'monitor'"]),
        ("data.batchsize=3", ["data.batchsize", "did you mean 'batch_size'"]),
        ("task.adversarial_weight=abc", ["task.adversarial_weight", "expected float", "abc"]),
        ("task.network.backbone.blocks=many", ["backbone.blocks", "expected int", "many"]),
        ("backbone.residual=reversibel", ["backbone.residual", "reversible", "reversibel"]),
        ("trainer.max_steps=many", ["trainer.max_steps", "expected int", "many"]),
        ("task.network.class_path=lightvid.networks.Nope", ["task.network", "Nope"]),
        ("adversarial_weight", ["key=value"]),
        ("trainer.precision=bf61", ["trainer.precision", "bf16-mixed", "bf61"]),
        ("task.generator_optimizer.lr=abc", ["task.generator_optimizer.lr", "expected float", "abc"]),
        ("task.discriminator=5", ["task.discriminator", "class_path of a Module"]),
        ("backbone.mixer.divisions=3", ["backbone.mixer.divisions", "expected Sequence", "got '3'"]),
        ("data=", ["data=", "names nothing"]),
        ("choice.data=davis", ["write data=davis"]),
        ("task.accumulate=[1", ["task.accumulate", "not readable"]),
    ],
)
def test_a_mistake_ends_in_one_line_that_names_the_key_and_the_way_out(argument, parts):
    with pytest.raises(ConfigurationError) as caught:
        check(compose([argument]))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_value_that_must_be_given_is_named():
    with pytest.raises(ConfigurationError, match=r"data\.root.*not given"):
        compose(["data=davis"])


def test_a_reference_to_nothing_or_to_itself_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing\.here"):
        compose(["task.adversarial_weight=${nothing.here}"])
    with pytest.raises(ConfigurationError) as caught:
        compose(["out=${name}", "name=${out}"])
    assert "\n" not in str(caught.value)


def test_a_saved_configuration_is_itself_a_configuration(tmp_path):
    arguments = ["backbone=reversible", "name=first", f"out={tmp_path}", "task.adversarial_weight=0.25"]
    save(compose_linked(arguments), tmp_path)
    plain = compose(arguments)
    assert load_yaml(tmp_path / "config.yaml") == plain
    again = compose([], saved=tmp_path / "config.yaml")
    assert again == {**plain, "name": again["name"]}
    check(again)


def test_an_override_of_a_saved_configuration_reaches_all_who_refer_to_it(tmp_path):
    save(compose_linked([f"out={tmp_path}"]), tmp_path)
    overrides = ["clip.height=96", "backbone.blocks=6", "seed=7", "trainer.max_steps=50"]
    plain = compose(overrides, saved=tmp_path / "config.yaml")
    task, data = plain["task"]["init_args"], plain["data"]["init_args"]
    assert (data["height"], data["seed"]) == (96, 7)
    assert task["network"]["init_args"]["backbone"]["init_args"]["blocks"] == 6
    assert task["schedule"]["init_args"]["T_max"] == 50


def test_an_edited_configuration_stands_for_itself(tmp_path):
    save(compose_linked([f"out={tmp_path}"]), tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("adversarial_weight: 0.01", "adversarial_weight: 0.5"))
    assert compose([], saved=file)["task"]["init_args"]["adversarial_weight"] == 0.5


def test_what_is_chosen_by_name_goes_over_a_recipe_and_the_recipe_over_the_defaults():
    assert compose(with_root(["paper=sttn"]))["trainer"]["max_steps"] == 500_000
    assert compose(with_root(["paper=sttn", "trainer=gpu"]))["trainer"]["precision"] == "bf16-mixed"
    assert (
        compose(with_root(["paper=sttn", "backbone=reversible"]))["backbone"]["init_args"]["residual"] == "reversible"
    )


def test_names_and_paths_are_taken_as_they_stand(tmp_path):
    plain = compose(["name=0123", f"out={tmp_path}", "data.root=/d/my #1 set"])
    assert (plain["name"], plain["data"]["init_args"]["root"]) == ("0123", "/d/my #1 set")


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("data.batch_size=0", ["data.batch_size", "at least 1", "0"]),
        ("data.sampling=mixd", ["data.sampling", "mixed"]),
        ("backbone.channels=63", ["63"]),
        ("task.accumulate=0", ["task.accumulate", "0"]),
        ("task.gradient_clip=-1", ["task.gradient_clip", "-1"]),
        ("task.network.stem.channels=32", ["32", "64"]),
        ("callbacks.best.mode=maxx", ["maxx"]),
        ("trainer.strategy=dpp", ["dpp"]),
    ],
)
def test_what_a_constructor_refuses_is_one_line_too(tmp_path, argument, parts):
    with pytest.raises(LightvidError) as caught:
        build(compose([argument, f"out={tmp_path}", "trainer.devices=2", "trainer.accelerator=cpu"]))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_run_folders_are_numbered_and_every_path_follows(tmp_path):
    (tmp_path / "inpaint" / "reversible-sample" / "checkpoints").mkdir(parents=True)
    plain = compose(["backbone=reversible", f"out={tmp_path}"])
    assert plain["run_dir"] == str(tmp_path / "inpaint" / "reversible-sample-2")
    assert plain["callbacks"]["best"]["init_args"]["dirpath"].startswith(plain["run_dir"])


@pytest.mark.parametrize("content", ["a: [1", "- 1\n- 2\n", "a: 1\na: 2"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, content):
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=r"broken\.yaml"):
        load_yaml(tmp_path / "broken.yaml")


def test_unknown_keys_in_a_configuration_file_are_named(tmp_path):
    plain = compose([f"out={tmp_path}"])
    plain["trainr"] = plain.pop("trainer")
    with pytest.raises(ConfigurationError, match="did you mean 'trainer'"):
        check(plain)


def test_the_shared_backbone_is_one_for_all_tasks():
    one, other, both = (
        compose([f"task={task}", "backbone=shared"])["backbone"] for task in ("inpaint", "vis", "joint")
    )
    assert one == other == both == compose(["task=joint"])["backbone"]


def test_a_file_anywhere_is_chosen_by_its_path_and_names_the_run(tmp_path):
    (tmp_path / "wide.yaml").write_text("backbone: {init_args: {channels: 96}}\n")
    plain = compose(["task=inpaint", f"backbone={tmp_path / 'wide.yaml'},reversible", f"out={tmp_path}"])
    assert (plain["backbone"]["init_args"]["channels"], plain["name"]) == (96, "wide-reversible-sample")
    assert plain["backbone"]["init_args"]["residual"] == "reversible"
    with pytest.raises(ConfigurationError, match=r"none\.yaml: no such configuration file"):
        compose(["task=inpaint", f"backbone={tmp_path / 'none.yaml'}"])


def test_null_takes_back_a_name_and_a_start(tmp_path):
    save(compose_linked(["name=first", "init_from=trained", f"out={tmp_path}"]), tmp_path)
    plain = compose(["name=null", "init_from=null"], saved=tmp_path / "config.yaml")
    assert plain["init_from"] is None
    assert plain["name"] == compose([f"out={tmp_path}"])["name"] != "null"


def test_the_null_of_a_sweep_is_null_as_its_agent_writes_it():
    values = {"task.schedule": None, "task.generator_optimizer.betas": [0.0, None], "init_from": None, "name": None}
    by_agent = [f"{name}={value}" for name, value in values.items()]
    assert by_agent[:2] == ["task.schedule=None", "task.generator_optimizer.betas=[0.0, None]"]
    plain, task = compose(by_agent), compose(by_agent)["task"]["init_args"]
    assert task["schedule"] is None
    assert task["generator_optimizer"]["init_args"]["betas"] == [0.0, None]
    assert plain["init_from"] is None
    assert plain["name"] == "additive-sample"
