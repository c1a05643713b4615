"""What a user may write on the command line, and what comes of it."""

import pytest
from shipped_choices import with_root

from lightvid.building import check
from lightvid.cli import main
from lightvid.configuration import compose, compose_linked
from lightvid.configuration.files import load_yaml, save
from lightvid.errors import ConfigurationError


def test_a_file_for_one_task_goes_before_that_for_all():
    assert compose(["task=vis"])["data"]["class_path"] == "lightvid.datamodules.SampleInstances"
    assert compose(["task=inpaint"])["data"]["class_path"] == "lightvid.datamodules.SampleData"


def test_a_file_replaces_the_mapping_that_is_an_argument_and_merges_parts(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        "task: {init_args: {learning_rate_factors: {decoder: 0.5}, optimizer: {init_args: {weight_decay: 0.0}}}}"
    )
    task = compose(["task=vis", f"backbone={file}"])["task"]["init_args"]
    assert task["learning_rate_factors"] == {"decoder": 0.5}
    assert task["optimizer"]["init_args"] == {"lr": 1e-3, "weight_decay": 0.0}


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


def test_another_class_loses_arguments_that_it_does_not_take():
    recipe = compose(with_root(["paper=sttn"]))["task"]["init_args"]["schedule"]
    assert set(recipe["init_args"]) == {"milestones", "gamma"}
    plain = compose(["task.schedule.class_path=torch.optim.lr_scheduler.ExponentialLR", "task.schedule.gamma=0.5"])
    assert plain["task"]["init_args"]["schedule"]["init_args"] == {"gamma": 0.5}


@pytest.mark.parametrize("turn", [1, -1])
def test_another_class_keeps_what_it_takes_too_in_either_order_of_the_keys(turn):
    optimizer = ["task.generator_optimizer.class_path=torch.optim.SGD", "task.generator_optimizer.momentum=0.5"]
    task = compose(optimizer[::turn])["task"]["init_args"]
    assert task["generator_optimizer"]["init_args"] == {"lr": 1e-3, "momentum": 0.5}


@pytest.mark.parametrize("turn", [1, -1])
def test_one_part_of_joint_shards_is_a_folder_read_as_the_recipe_says(turn):
    folder = ["data.segmentation.class_path=lightvid.datamodules.YouTubeVISDataModule", "data.segmentation.root=/y"]
    plain = compose(["task=joint", "data=shards", "data.inpainting.root=/x", *folder[::turn]])
    check(plain)
    recipe = compose(["task=joint", "data=youtube", "data.inpainting.root=/x", "data.segmentation.root=/y"])
    assert plain["data"]["init_args"]["segmentation"] == recipe["data"]["init_args"]["segmentation"]


def test_a_class_is_also_chosen_by_its_path_alone():
    chosen = compose(["backbone.mixer.heads=2", "backbone.mixer=lightvid.attention.FullAttention"])
    expected = {"class_path": "lightvid.attention.FullAttention", "init_args": {"heads": 2}}
    assert chosen["backbone"]["init_args"]["mixer"] == expected
    chosen = compose(["backbone=decoupled", "backbone.mixer.1=lightvid.attention.PSAL", "backbone.mixer.1.patch=1"])
    expected = {"class_path": "lightvid.attention.PSAL", "init_args": {"heads": 4, "patch": 1}}
    assert chosen["backbone"]["init_args"]["mixer"][1] == expected
    plain = compose(
        ["task.schedule=null", "task.flow_teacher=lightvid.losses.DISTeacher", "task.flow_teacher.preset=fast"]
    )
    expected = {"class_path": "lightvid.losses.DISTeacher", "init_args": {"preset": "fast"}}
    assert plain["task"]["init_args"]["flow_teacher"] == expected


def test_a_callback_is_removed_with_one_key():
    assert compose(["callbacks.progress=null"])["callbacks"]["progress"] is None


@pytest.mark.parametrize("command", ["train", "config", "evaluate", "sample"])
def test_a_command_tells_how_it_is_called(command, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lightvid", command, "--help"])
    main()
    assert capsys.readouterr().out.startswith(f"usage: lightvid {command} ")


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


def test_run_folders_are_numbered_and_every_path_follows(tmp_path):
    (tmp_path / "inpaint" / "reversible-sample" / "checkpoints").mkdir(parents=True)
    plain = compose(["backbone=reversible", f"out={tmp_path}"])
    assert plain["run_dir"] == str(tmp_path / "inpaint" / "reversible-sample-2")
    assert plain["callbacks"]["best"]["init_args"]["dirpath"].startswith(plain["run_dir"])


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
