"""What training, validation and resuming of video instance segmentation promise."""

import csv
import json

import pytest
import pytorch_lightning as pl
import torch
from offline_runs import ended_offline_files

import lightvid.checkpoints
from lightvid.building import build
from lightvid.configuration import compose
from lightvid.errors import ConfigurationError
from lightvid.metrics import youtube_vis_ap
from lightvid.tasks import InstanceSegmentation
from lightvid.tasks.base import NonFiniteLossError
from lightvid.training import train

QUIET = (
    "trainer.limit_val_batches=0",
    "loggers={}",
    "callbacks={}",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)


def fit(arguments, *callbacks):
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    run.trainer.callbacks += callbacks
    run.trainer.fit(run.task, run.data)
    return run


class Record(pl.Callback):
    def __init__(self, change=lambda batch: None):
        self.losses, self.change = [], change

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.change(batch)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_checkpoints_metrics_overlays_and_a_table(tiny_vis, capsys):
    run = train(tiny_vis("name=whole", "loggers.wandb.mode=offline"))
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "config.yaml", "metrics.csv", "results.json"):
        assert (run / name).is_file(), name
    assert {path.name for path in (run / "pictures").iterdir()} == {"step_0000002.png", "step_0000004.png", "final.png"}
    assert {path.name for path in (run / "videos").iterdir()} == {"step_0000002.mp4", "step_0000004.mp4", "final.mp4"}
    results = json.loads((run / "results.json").read_text())
    assert set(results["lightvid"]) == {"AP", "AP50", "AP75", "AR1", "AR10"}
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for column in ("class", "box", "giou", "mask", "dice", "centre", "region", "class_0", "total"):
        assert sum(bool(row[f"loss/{column}"]) for row in rows) == 4, column
    assert "AP50" in capsys.readouterr().out
    (record,) = ended_offline_files(run)
    content = record.read_bytes()
    for written in (b"loss/giou", b"val/AP50", b"val/pictures", b"val/video", b"learning_rate_factors"):
        assert written in content, written


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tiny_vis):
    whole = train(tiny_vis("name=whole", "task.ema_decay=0.5"))
    part = train(tiny_vis("name=part", "task.ema_decay=0.5", "trainer.max_steps=2", "task.schedule.steps=4"))
    resumed = train([f"resume={part}", "trainer.max_steps=4"])
    one, other = weights(whole), weights(resumed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_loads_through_lightning_and_through_lightvid_with_its_categories(tiny_vis):
    run = train(tiny_vis("name=loads", "callbacks.pictures=null"))
    file = run / "checkpoints" / "last.ckpt"
    task = InstanceSegmentation.load_from_checkpoint(file, map_location="cpu").eval()
    network = lightvid.checkpoints.load("vis", file)
    assert network.category_names == ["ellipse", "triangle", "rectangle", "hexagon", "star"]
    frames = torch.randn(1, 3, 3, 32, 56)
    with torch.no_grad():
        torch.testing.assert_close(task.validated_network(frames).masks, network(frames).masks)
    assert len(task.segmenter().segment_clip(frames[0], (128, 224), 7)) >= 0


def test_validation_scores_what_the_results_file_would_score(tiny_vis):
    class Keep(pl.Callback):
        results, truth = [], []

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            Keep.results += [track for tracks in outputs["results"] for track in tracks]
            Keep.truth += batch.truth

    run = build(compose(tiny_vis("loggers={}", "callbacks={}", "trainer.enable_progress_bar=false")))
    run.trainer.callbacks.append(Keep())
    with torch.no_grad():
        for module in run.task.network.modules():
            if isinstance(module, torch.nn.Linear) and module.bias is not None:
                module.bias.normal_()  # so that scores and classes vary
    run.trainer.validate(run.task, run.data, verbose=False)
    truth = {
        "videos": [
            {"id": v.video_id, "height": v.height, "width": v.width, "file_names": ["x"] * v.length, "length": v.length}
            for v in Keep.truth
        ],
        "categories": [{"id": c.id, "name": c.name} for c in run.data.categories],
        "annotations": [track for v in Keep.truth for track in v.tracks],
    }
    assert Keep.results
    expected = youtube_vis_ap(truth, Keep.results)
    for name in ("AP", "AP50", "AR10"):
        assert float(run.trainer.callback_metrics[f"val/{name}"]) == pytest.approx(expected[name], abs=1e-6)


def test_learning_rates_follow_the_factors(tiny_vis):
    factors = "task.learning_rate_factors={stem.body.: 0.5, .sampling.: 0.1}"
    run = fit(tiny_vis(*QUIET, "trainer.max_steps=1", factors, "task.schedule=null", "task.optimizer.lr=0.01"))
    (optimizer,) = run.trainer.optimizers
    rates = {}
    for group in optimizer.param_groups:
        rates |= {id(parameter): group["lr"] for parameter in group["params"]}
    for name, parameter in run.task.network.named_parameters():
        factor = 0.5 if "stem.body." in name else 0.1 if ".sampling." in name else 1.0
        assert rates[id(parameter)] == pytest.approx(0.01 * factor), name


def test_a_factor_for_no_parameter_is_refused(tiny_vis):
    with pytest.raises(ConfigurationError, match="no parameter's name has 'stemm' in it"):
        fit(tiny_vis(*QUIET, "task.learning_rate_factors={stemm: 0.1}"))


def test_a_loss_that_reads_other_logits_is_refused_before_training(tiny_vis):
    loss, softmax = "task.loss={class_path: lightvid.losses.VisTRLoss}", "task.network.decoder.classification=softmax"
    with pytest.raises(ConfigurationError, match=rf"^task\.loss: VisTRLoss needs {softmax}, got sigmoid$"):
        build(compose(tiny_vis(loss)))
    with pytest.raises(ConfigurationError, match=r"TrackLoss needs .*classification=sigmoid, got softmax$"):
        build(compose(tiny_vis(softmax)))
    record = Record()
    fit(tiny_vis(*QUIET, loss, softmax, "trainer.max_steps=1"), record)
    assert record.losses[0]["loss/total"] > 0


def test_two_accumulated_batches_step_once_and_clip_the_sum(tiny_vis):
    run = fit(tiny_vis(*QUIET, "trainer.max_steps=2", "task.accumulate=2", "task.gradient_clip=0.001"))
    assert run.trainer.global_step == 2
    assert run.trainer.fit_loop.total_batch_idx + 1 == 4


def test_a_batch_that_is_not_finite_stops_the_run_by_its_files_name_or_is_left_out(tiny_vis):
    def spoil(batch):
        batch.frames.fill_(torch.nan)

    with pytest.raises(NonFiniteLossError, match=r"not finite for .*train-\d\d"):
        fit(tiny_vis(*QUIET), Record(spoil))
    run = fit(
        tiny_vis(*QUIET, "task.on_nonfinite=skip", "trainer.limit_train_batches=3", "trainer.max_epochs=1"),
        Record(spoil),
    )
    assert run.task.skipped_steps == 3


def test_clips_without_any_instance_train_the_classes_alone(tiny_vis):
    def empty(batch):
        for index, target in enumerate(batch.targets):
            batch.targets[index] = type(target)(*(part[:0] for part in target))

    record = Record(empty)
    fit(tiny_vis(*QUIET, "trainer.max_steps=2"), record)
    assert record.losses[-1]["loss/box"] == 0
    assert record.losses[-1]["loss/class"] > 0


@pytest.mark.parametrize("backbone", ["full", "deformable reversible", "psal", "focal", "decoupled checkpoint"])
def test_every_backbone_trains_under_mixed_precision(tiny_vis, backbone):
    name = f"backbone={backbone}"
    record = Record()
    fit(tiny_vis(*QUIET, name, "trainer.max_steps=2", "trainer.precision=bf16-mixed"), record)
    assert all(torch.isfinite(torch.tensor(list(losses.values()))).all() for losses in record.losses)


def test_data_without_instances_is_refused_in_one_line(tiny_vis, sample_root):
    plain = compose(tiny_vis(*QUIET))
    sizes = {"root": f"{sample_root}/davis", "frames": 3, "height": 32, "width": 56}
    run = build({**plain, "data": {"class_path": "lightvid.datamodules.DAVIS", "init_args": sizes}})
    with pytest.raises(ConfigurationError, match="task=vis needs instances, which DAVIS does not give"):
        run.trainer.fit(run.task, run.data)


def test_a_new_run_starts_from_the_weights_of_another(tiny_vis):
    first = train(tiny_vis("name=first", "callbacks.pictures=null"))
    file = first / "checkpoints" / "last.ckpt"
    start = [f"init_from={file}", "task.ema_decay=null", "trainer.max_steps=1", "task.schedule=null"]
    run = fit(tiny_vis(*QUIET, *start, "task.optimizer.lr=1e-12"))
    trained = lightvid.checkpoints.load("vis", file).state_dict()
    for name, value in run.task.network.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.overlap=3", "windows of 3 frames share 0 to 2"),
        ("task.shortest=0", "task.shortest=0, task.longest=None: expected 1 <= shortest <= longest"),
    ],
)
def test_a_wrong_value_ends_before_training(tiny_vis, override, message):
    with pytest.raises(ConfigurationError, match=message):
        build(compose(tiny_vis(override)))


def test_accumulated_batches_of_a_step_that_is_left_out_do_not_reach_the_next(tiny_vis):
    class SpoilSecond(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 1:
                batch.frames.fill_(torch.nan)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 1:
                assert all(parameter.grad is None for parameter in pl_module.network.parameters())
                trainer.should_stop = True

    run = fit(
        tiny_vis(*QUIET, "task.on_nonfinite=skip", "task.accumulate=2", "trainer.limit_train_batches=2"),
        SpoilSecond(),
    )
    assert run.task.skipped_steps == 1
    assert run.trainer.global_step == 0
