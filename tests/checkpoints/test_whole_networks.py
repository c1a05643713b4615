"""What is used without training has every tensor from its file."""

import pytest
import torch
from torch import Tensor

from lightvid.checkpoints import load, load_generator, load_i3d
from lightvid.checkpoints.building import build
from lightvid.checkpoints.e2fgvi import names
from lightvid.errors import CheckpointError
from lightvid.networks import InpaintingGenerator, e2fgvi_hq
from lightvid.networks.i3d import I3D

CONVOLUTIONS = {"init_args": {"channels": 8}}
MIXER = {"class_path": "lightvid.attention.FullAttention"}
GENERATOR = {
    "class_path": "lightvid.networks.InpaintingGenerator",
    "init_args": {
        "stem": {"class_path": "lightvid.stems.ConvStem", **CONVOLUTIONS},
        "backbone": {
            "class_path": "lightvid.backbone.SpatioTemporalTransformer",
            "init_args": {"channels": 8, "blocks": 1, "mixer": MIXER},
        },
        "head": {"class_path": "lightvid.heads.ConvDecoder", **CONVOLUTIONS},
    },
}
QUERY = "network.backbone.blocks.0.mixer.query.weight"


def run_checkpoint():
    """As a run with task=inpaint writes it."""
    state = {f"network.{name}": tensor for name, tensor in build(GENERATOR).state_dict().items()}
    return {"state_dict": state, "lightvid_config": {"task": {"init_args": {"network": GENERATOR}}}}


def published_hq() -> dict[str, Tensor]:
    network = e2fgvi_hq()
    state = network.state_dict()
    return {name: state[mine] for name, mine in names(network).items()}


def error_of(call, *arguments, **options):
    with pytest.raises(CheckpointError) as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_generator_comes_from_a_run_without_its_name():
    content = run_checkpoint()
    network = load_generator(None, content)
    assert isinstance(network, InpaintingGenerator)
    assert torch.equal(network.backbone.blocks[0].mixer.query.weight, content["state_dict"][QUERY])


def test_a_run_that_lacks_a_tensor_fills_no_holes():
    content = run_checkpoint()
    del content["state_dict"][QUERY]
    message = error_of(load_generator, None, content)
    assert message.startswith("the given state: does not hold the whole network")
    assert "without backbone.blocks.0.mixer.query.weight, 1 missing in all" in message
    assert load("inpaint", content).checkpoint_report.missing  # a start for training may lack it


def test_a_published_file_without_a_block_fills_no_holes(tmp_path):
    tensors = published_hq()
    torch.save({name: t for name, t in tensors.items() if ".7." not in name}, tmp_path / "hq.pth")
    message = error_of(load_generator, "e2fgvi_hq", tmp_path / "hq.pth")
    assert message.startswith(f"{tmp_path / 'hq.pth'}: does not hold the whole network (without backbone.blocks.7.")
    assert "14 missing in all" in message


def test_a_network_of_another_kind_fills_no_holes():
    tensors = {name.removeprefix("stages."): tensor for name, tensor in I3D().state_dict().items()}
    assert "I3D is no network that fills holes" in error_of(load_generator, "i3d", tensors)
    assert error_of(load_i3d, run_checkpoint(), batch_statistics=True).startswith(
        "the given state: a checkpoint of a run with task=inpaint"
    )


def test_a_published_file_needs_its_name():
    message = error_of(load_generator, None, {"encoder.0.bias": torch.zeros(64)})
    assert message.endswith("no checkpoint of a run; published ones load as dstt, e2fgvi, e2fgvi_hq, fuseformer, sttn")


@pytest.mark.parametrize(("files", "named"), [(["best.ckpt", "last.ckpt"], "best.ckpt"), (["last.ckpt"], "last.ckpt")])
def test_the_folder_of_a_run_names_the_file_to_give(tmp_path, files, named):
    (tmp_path / "checkpoints").mkdir()
    for name in files:
        torch.save(run_checkpoint(), tmp_path / "checkpoints" / name)
    message = error_of(load_generator, None, tmp_path)
    assert message == f"{tmp_path}: is the folder of a run: give a file of it, {tmp_path / 'checkpoints' / named}"
