import logging
import os
import pickle
from functools import partial

import pytest
import torch

from lightvid.attention import PatchAttention
from lightvid.checkpoints import CheckpointReport, load
from lightvid.checkpoints.building import build
from lightvid.checkpoints.report import fill
from lightvid.errors import CheckpointError
from lightvid.networks import TPatchGAN, sttn


def published_discriminator(channels=4):
    """What a released trainer would have saved for a network of ours, and that network."""
    network = TPatchGAN(channels)
    state = {}
    for name, value in network.state_dict().items():
        index, _, kind = name.removeprefix("convs.").partition(".")
        kind = {
            "parametrizations.weight.original": "weight_orig",
            "parametrizations.weight.0._u": "weight_u",
            "parametrizations.weight.0._v": "weight_v",
        }.get(kind, kind)
        state[f"conv.{2 * int(index)}.{kind}"] = value
    return state, network.eval()


def generator_tree(**backbone):
    return {
        "class_path": "lightvid.networks.InpaintingGenerator",
        "init_args": {
            "stem": {"class_path": "lightvid.stems.ConvStem", "init_args": {"channels": 8}},
            "backbone": {
                "class_path": "lightvid.backbone.SpatioTemporalTransformer",
                "init_args": {
                    "channels": 8,
                    "blocks": 1,
                    "mixer": {"class_path": "lightvid.attention.PatchAttention", "init_args": {"divisions": [1, 2]}},
                    "feed_forward": {"class_path": "lightvid.backbone.ConvFeedForward"},
                    **backbone,
                },
            },
            "head": {"class_path": "lightvid.heads.ConvDecoder", "init_args": {"channels": 8}},
        },
    }


def run_checkpoint(**trees):
    """A checkpoint as a run writes it, and the networks that it describes."""
    networks = {role: build(tree) for role, tree in trees.items()}
    state = {f"{role}.{name}": value for role, net in networks.items() for name, value in net.state_dict().items()}
    return {"state_dict": state, "lightvid_config": {"task": {"init_args": trees}}, "global_step": 3}, networks


def error_of(*arguments, **options):
    with pytest.raises(CheckpointError) as error:
        load(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("container", [None, "netD", "state_dict", "params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_file_loads_from_any_container(tmp_path, container, prefix):
    state, network = published_discriminator()
    state = {f"{prefix}{name}": value for name, value in state.items()}
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / "dis.pth")
    loaded = load("t_patchgan", tmp_path / "dis.pth", merge_batch_into_time=False)
    video = torch.randn(2, 2, 3, 16, 16)
    assert not loaded.training
    assert torch.equal(loaded(video), network(video))
    assert loaded.checkpoint_report.complete
    assert len(loaded.checkpoint_report.matched) == 17


def test_a_published_discriminator_scores_a_batch_as_its_trainers_did():
    state, _ = published_discriminator()
    assert load("t_patchgan", state).merge_batch_into_time


def test_what_does_not_match_is_reported_and_warned_about(caplog):
    state, _ = published_discriminator()
    del state["conv.10.bias"]
    state["conv.12.weight"] = torch.zeros(1)
    with caplog.at_level(logging.INFO, "lightvid"):
        report = load("t_patchgan", state).checkpoint_report
    assert (report.missing, report.unexpected) == (["convs.5.bias"], ["conv.12.weight"])
    assert isinstance(report, CheckpointReport)
    assert not report.complete
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "16 tensors matched, 1 missing, 1 unexpected (convs.5.bias, conv.12.weight" in record.getMessage()


def test_a_whole_match_is_logged_quietly(caplog):
    with caplog.at_level(logging.INFO, "lightvid"):
        load("t_patchgan", published_discriminator()[0])
    assert [record.levelno for record in caplog.records] == [logging.INFO]


def test_options_reach_the_network():
    published = {"encoder.0.bias": torch.zeros(64)}
    network = load("sttn", published, blocks=1, residual="checkpoint", mixer=partial(PatchAttention, mask_keys=True))
    assert network.backbone.residual == "checkpoint"
    assert network.backbone.blocks[0].mixer.mask_keys


def test_an_unknown_name_is_answered_with_the_nearest():
    assert "did you mean sttn?" in error_of("stnn", {})
    assert "did you mean vistr_r50?" in error_of("visTR50", {})
    choices = error_of("xyz", {}).partition("'xyz': choose one of ")[2].split(", ")
    assert {"dstt", "e2fgvi", "e2fgvi_hq", "fuseformer", "sttn", "spynet", "t_patchgan", "vistr_r50", "vis"} <= set(
        choices
    )


def test_a_missing_file_is_named(tmp_path):
    assert error_of("sttn", tmp_path / "no.pth") == f"{tmp_path / 'no.pth'}: no such checkpoint file"
    assert "no such checkpoint file" in error_of("sttn", tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken", pickle.dumps({"netG": 3}, protocol=5)])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert "is not a PyTorch checkpoint" in error_of("sttn", path)


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "half.pth"
    torch.save(published_discriminator()[0], path)
    path.write_bytes(path.read_bytes()[:-2000])
    assert "damaged" in error_of("t_patchgan", path)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))]
)
def test_code_in_a_file_is_refused_and_never_run(tmp_path, save):
    save({"netG": Malicious(tmp_path / "trace")}, tmp_path / "bad.pth")
    message = error_of("sttn", tmp_path / "bad.pth")
    assert "mkdir" in message
    assert "never run" in message
    assert not (tmp_path / "trace").exists()


def test_files_without_tensors_of_the_network_are_refused(tmp_path):
    assert "none of its 1 tensors belongs" in error_of("sttn", {"netG": {"other.weight": torch.zeros(1)}})
    assert "none of its 1 tensors belongs" in error_of("t_patchgan", {"other.weight": torch.zeros(1)})
    assert "no tensors" in error_of("sttn", {"epoch": 3})
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "holds a list" in error_of("sttn", tmp_path / "list.pth")


def test_a_wrong_shape_is_named():
    message = error_of("sttn", {"encoder.0.weight": torch.zeros(64, 4, 3, 3)})
    assert "stem.layers.0.weight has the shape (64, 4, 3, 3), the network expects (64, 3, 3, 3)" in message


def test_published_names_cover_the_whole_network():
    with torch.device("meta"):
        network = sttn()
    from lightvid.checkpoints.sttn import names

    table = names(network)
    assert len(table) == 112
    assert set(table.values()) == set(network.state_dict())


def test_a_runs_checkpoint_builds_the_networks_that_it_describes(tmp_path):
    discriminator = {"class_path": "lightvid.networks.TPatchGAN", "init_args": {"channels": 4}}
    content, networks = run_checkpoint(network=generator_tree(residual="reversible"), discriminator=discriminator)
    torch.save(content, tmp_path / "last.ckpt")
    for name, role in (("sttn", "network"), ("t_patchgan", "discriminator")):
        loaded = load(name, tmp_path / "last.ckpt")
        assert loaded.checkpoint_report.complete
        assert type(loaded) is type(networks[role])
        for one, other in zip(loaded.state_dict().values(), networks[role].state_dict().values(), strict=True):
            assert torch.equal(one, other)
    assert load("sttn", tmp_path / "last.ckpt").backbone.blocks[0].mixer.divisions == (1, 2)


def test_the_average_of_a_run_is_preferred():
    content, _ = run_checkpoint(network=generator_tree())
    averages = {
        name.replace("network.", "network_ema.module.", 1): value + 1 for name, value in content["state_dict"].items()
    }
    loaded = load("sttn", {**content, "state_dict": {**content["state_dict"], **averages}})
    assert torch.equal(
        loaded.state_dict()["stem.layers.0.bias"], content["state_dict"]["network.stem.layers.0.bias"] + 1
    )


def test_a_run_without_a_discriminator_says_so():
    content, _ = run_checkpoint(network=generator_tree())
    assert "describes no discriminator" in error_of("t_patchgan", content)
    assert "residual cannot be given" in error_of("sttn", content, residual="checkpoint")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "no network of lightvid"),
        ("torch.nn.Linear", "no network of lightvid"),
        ("lightvid.networks.presets.partial", "no network of lightvid"),
        ("lightvid.networks.generator.nn.Linear", "does not have"),
        ("lightvid.cli.main", "no network of lightvid"),
        ("lightvid.networks.Nothing", "does not have"),
        (None, "no network of lightvid"),
    ],
)
def test_a_run_cannot_ask_for_anything_but_this_librarys_networks(path, message):
    content, _ = run_checkpoint(network=generator_tree())
    content["lightvid_config"]["task"]["init_args"]["network"]["class_path"] = path
    assert message in error_of("sttn", content)


def test_a_module_of_ones_own_is_built_once_it_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "own_mixers.py").write_text(
        "from lightvid.attention import PatchAttention\n\n\nclass Own(PatchAttention):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = {"class_path": "own_mixers.Own", "init_args": {"divisions": [1, 2]}}
    content, _ = run_checkpoint(network=generator_tree())
    content["lightvid_config"]["task"]["init_args"]["network"] = generator_tree(mixer=own)
    assert error_of("sttn", content).endswith("LIGHTVID_TRUST=own_mixers allows it, if you trust that module")
    monkeypatch.setenv("LIGHTVID_TRUST", "another, own_mixers")
    assert type(load("sttn", content).backbone.blocks[0].mixer).__name__ == "Own"
    own["class_path"] = "own_mixers.Missing"
    assert "own_mixers.Missing, which module own_mixers does not have" in error_of("sttn", content)


def test_arguments_that_a_class_does_not_take_are_named():
    content, _ = run_checkpoint(network=generator_tree())
    arguments = content["lightvid_config"]["task"]["init_args"]["network"]["init_args"]
    arguments["depth"] = 3
    assert "InpaintingGenerator: got an unexpected keyword argument 'depth'" in error_of("sttn", content)
    del arguments["depth"], arguments["stem"]
    assert "missing a required argument: 'stem'" in error_of("sttn", content)


def test_mixers_that_take_turns_come_back_from_a_runs_checkpoint():
    temporal = {"class_path": "lightvid.attention.TemporalAttention", "init_args": {"heads": 2, "zones": 3}}
    spatial = {"class_path": "lightvid.attention.SpatialAttention", "init_args": {"heads": 2}}
    content, _ = run_checkpoint(network=generator_tree(mixer=[temporal, spatial], blocks=3))
    mixers = [block.mixer for block in load("sttn", content).backbone.blocks]
    assert [type(mixer).__name__ for mixer in mixers] == ["TemporalAttention", "SpatialAttention", "TemporalAttention"]
    assert mixers[0].zones == 3


@pytest.mark.parametrize(
    ("shape", "like"), [((8, 3, 3, 3), (8, 27)), ((1, 1, 6, 5), (2, 3, 5)), ((8, 4, 1, 1), (8, 4))]
)
def test_a_tensor_fits_where_neighbouring_dimensions_are_joined(shape, like):
    network = torch.nn.ParameterDict({"weight": torch.zeros(like)})
    tensor = torch.rand(shape)
    fill(network, {"weight": tensor}, "file")
    assert torch.equal(network["weight"].flatten(), tensor.flatten())


def test_a_tensor_of_as_many_numbers_in_another_arrangement_is_refused():
    with pytest.raises(CheckpointError, match=r"weight has the shape \(4, 6\), the network expects \(6, 4\)"):
        fill(torch.nn.ParameterDict({"weight": torch.zeros(6, 4)}), {"weight": torch.zeros(4, 6)}, "file")


def test_a_file_of_another_network_is_refused_and_named():
    from lightvid.checkpoints import dstt as form
    from lightvid.networks import dstt

    network = dstt(blocks=1)
    state = network.state_dict()
    published = {name: state[mine] for name, mine in form.names(network).items()}
    assert 'is a checkpoint of another network: load("dstt", ...)' in error_of("fuseformer", published, blocks=1)


def test_a_bias_map_that_is_none_is_named():
    assert "sc.bias must be (channels, H, W), got (4,)" in error_of("fuseformer", {"sc.bias": torch.zeros(4)})
