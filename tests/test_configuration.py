"""What a mistake on the command line is answered with: one line."""

import pytest

from lightvid.building import build, check
from lightvid.configuration import compose, compose_linked
from lightvid.configuration.files import load_yaml, save
from lightvid.errors import ConfigurationError, LightvidError


def test_a_misspelt_argument_inside_a_list_is_named():
    with pytest.raises(ConfigurationError) as caught:
        check(compose(["backbone=decoupled", "backbone.mixer.1.hedas=3"]))
    assert str(caught.value) == (
        "unknown key 'task.network.backbone.mixer.1.hedas': did you mean 'heads'? Valid: channels, dropout, heads"
    )


def test_a_list_is_overridden_by_number_only():
    for step in ("heads", "2.heads"):
        with pytest.raises(
            ConfigurationError, match=f"number of a list's element, 0 to 1, in place of '{step[0]}"
        ) as caught:
            compose(["backbone=decoupled", f"backbone.mixer.{step}=2"])
        assert "\n" not in str(caught.value)


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
        ("clip=64", ["'clip' has no value of its own", "clip.height, clip.width, clip.frames"]),
        ("seed=-1", ["'seed': expected a whole number from 0 to 4294967295, got '-1'"]),
        ("seed=4294967296", ["'seed'", "4294967296"]),
        ("seed=abc", ["'seed'", "got 'abc'"]),
        ("seed=1.5", ["'seed'", "got '1.5'"]),
        ("name=../../x", ["name='../../x' names no folder of a run"]),
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


@pytest.fixture
def own_modules(tmp_path, monkeypatch):
    """Modules of a user: one that is sound, one with a mistake, one that needs what is not installed."""
    (tmp_path / "sound_parts.py").write_text("class ShiftMixer: pass\n")
    (tmp_path / "broken_parts.py").write_text("one = 1\ntwo = 2\ndef (:\n")
    (tmp_path / "needy_parts.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backbone.mixer=nomodule.Nope"], "'backbone.mixer': no module 'nomodule'"),
        (
            ["backbone.mixer.class_path=sound_parts.ShiftMixr"],
            "'backbone.mixer': module 'sound_parts' has no 'ShiftMixr': did you mean 'ShiftMixer'? Valid: ShiftMixer",
        ),
        (
            ["callbacks.mine.class_path=broken_parts.Nope"],
            "'callbacks.mine': module 'broken_parts' fails to be imported: broken_parts.py line 3: invalid syntax",
        ),
        (
            ["task.flow_teacher=needy_parts.Nope"],
            "'task.flow_teacher': module 'needy_parts' fails to be imported: No module named 'not_installed'",
        ),
        (["trainer.strategy.class_path=nomodule.Nope"], "'trainer.strategy': no module 'nomodule'"),
        (
            ["backbone=decoupled", "backbone.mixer.1=torch.nn.Nope"],
            "'backbone.mixer.1': module 'torch.nn' has no 'Nope'",
        ),
        (["backbone.mixer.class_path=Nope"], "'backbone.mixer': 'Nope' is not of the form MODULE.CLASS"),
        (
            ["task.generator_optimizer.class_path=sound_parts.ShiftMixer"],
            "'task.generator_optimizer': sound_parts.ShiftMixer is no Optimizer",
        ),
        (
            ["backbone.mixer=sound_parts.ShiftMixer"],
            "'task.network.backbone.mixer': sound_parts.ShiftMixer is no Module",
        ),
        (["data.class_path=torch.nn.Linear"], "'data': torch.nn.Linear is no LightningDataModule"),
    ],
)
def test_a_class_that_cannot_be_taken_is_named_with_the_reason(own_modules, arguments, message):
    with pytest.raises(ConfigurationError) as caught:
        check(compose(arguments))
    assert str(caught.value) == message


def test_a_value_that_must_be_given_is_named():
    with pytest.raises(ConfigurationError, match=r"data\.root.*not given"):
        compose(["data=davis"])


def test_a_reference_to_nothing_or_to_itself_is_one_line(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nothing\.here"):
        compose(["task.adversarial_weight=${nothing.here}"])
    with pytest.raises(ConfigurationError) as caught:
        compose(["out=${name}", "name=${out}"])
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("ddp_per_netwrk", "no trainer.strategy named 'ddp_per_netwrk': did you mean 'ddp_per_network'? Valid: auto, "),
        ("fsdp", "trainer.strategy=fsdp is for task=vis, not for Inpainting"),
    ],
)
def test_a_strategy_is_refused_on_one_device_as_on_many(devices, strategy, message):
    with pytest.raises(ConfigurationError) as caught:
        build(compose(["task=inpaint", f"trainer.devices={devices}", f"trainer.strategy={strategy}", "loggers={}"]))
    assert str(caught.value).startswith(message)


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


def test_a_name_that_would_have_no_effect_is_refused(tmp_path):
    save(compose_linked(["name=first", f"out={tmp_path}"]), tmp_path)
    for saved, options in ((tmp_path / "config.yaml", {"run_dir": "runs/first"}), (None, {"run_dir": "runs/first"})):
        with pytest.raises(ConfigurationError, match="name=second cannot rename the run folder runs/first"):
            compose(["name=second"], saved=saved, **options)
        assert compose(["name=first"], saved=saved, **options)["run_dir"] == "runs/first"
    with pytest.raises(ConfigurationError, match="name=second cannot rename the run folder runs/first"):
        compose(["name=second", "run_dir=runs/first"])
