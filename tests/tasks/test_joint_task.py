"""What training two tasks on one backbone promises."""

import csv
import json
import math

import pytest
import pytorch_lightning as pl
import torch

import lightvid.checkpoints
from lightvid.building import build, check
from lightvid.checkpoints.building import build as build_module
from lightvid.configuration import compose
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.losses import TrackLoss
from lightvid.segmentation import SegmenterOptions
from lightvid.tasks import Inpainting, InstanceSegmentation, Joint
from lightvid.tasks.base import NonFiniteLossError
from lightvid.training import evaluate, train

QUIET = (
    "trainer.limit_val_batches=0",
    "loggers={}",
    "callbacks={}",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
)
SGD = [
    f"task.{name}={{class_path: torch.optim.SGD, init_args: {{lr: 0.1, weight_decay: 0}}}}"
    for name in ("inpainting.generator_optimizer", "inpainting.discriminator_optimizer", "segmentation.optimizer")
]
CONSTANT = ["task.inpainting.schedule=null", "task.segmentation.schedule=null"]
UNCLIPPED = ["task.inpainting.gradient_clip=null", "task.segmentation.gradient_clip=null"]


def fit(arguments, *callbacks):
    pl.seed_everything(0, verbose=False)
    run = build(compose(arguments))
    run.trainer.callbacks += callbacks
    run.trainer.fit(run.task, run.data)
    return run


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


class Watch(pl.Callback):
    """Keeps what is logged, and may change batches."""

    def __init__(self, change=lambda batch, index: None):
        self.logged, self.change = [], change

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.change(batch, batch_idx)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def test_a_run_validates_both_tasks_and_leaves_one_folder_and_one_table(tiny_joint, capsys):
    run = train(tiny_joint("name=whole"))
    steps = ("step_0000002", "step_0000004", "final")
    names = {f"{task}_{step}" for task in ("inpaint", "vis") for step in steps}
    assert {path.stem for path in (run / "pictures").iterdir()} == names
    assert {path.stem for path in (run / "videos").iterdir()} == names
    results = json.loads((run / "results.json").read_text())
    assert set(results["lightvid"]) == {"psnr", "ssim", "hole_psnr", "AP", "AP50", "AP75", "AR1", "AR10"}
    assert set(results["mean colour"]) == {"psnr", "ssim", "hole_psnr"}
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    for loss in ("hole", "valid", "adversarial", "discriminator", "class", "box", "mask", "inpaint", "vis", "total"):
        assert sum(bool(row[f"loss/{loss}"]) for row in rows) == 4, loss
    printed = capsys.readouterr().out
    assert "AP50" in printed and "hole_psnr" in printed
    assert evaluate([f"run={run}"]) == results


def test_the_best_checkpoint_is_that_of_the_metric_that_is_chosen(tiny_joint):
    run = train(tiny_joint("name=best", "callbacks.best.monitor=val/hole_psnr", "callbacks.overlays=null"))
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val/hole_psnr"]][:2]
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    scores = {2 * (index + 1): float(row["val/hole_psnr"]) for index, row in enumerate(rows)}
    assert best["global_step"] == max(scores, key=scores.get)


def test_both_networks_have_one_backbone_that_one_optimiser_steps_once(tiny_joint):
    run = fit(tiny_joint(*QUIET, "trainer.max_steps=3"))
    inpainting, segmentation = run.task.inpainting.network, run.task.segmentation.network
    assert inpainting.backbone is segmentation.backbone
    assert run.trainer.global_step == run.trainer.fit_loop.total_batch_idx + 1 == 3
    owners = {}
    for number, optimizer in enumerate(run.trainer.optimizers):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                assert id(parameter) not in owners
                owners[id(parameter)] = number
                assert optimizer.state[parameter]["step"] == 3
    assert set(owners) == {id(parameter) for parameter in run.task.parameters() if parameter.requires_grad}
    assert {owners[id(parameter)] for parameter in inpainting.backbone.parameters()} == {0}
    assert {owners[id(parameter)] for parameter in inpainting.head.parameters()} == {1}


def test_the_backbones_gradient_is_the_weighted_sum_of_both_tasks(tiny_joint):
    def step(inpaint_weight, vis_weight):
        weighted = [f"task.inpaint_weight={inpaint_weight}", f"task.vis_weight={vis_weight}"]
        rest = [*SGD, *CONSTANT, *UNCLIPPED, "task.segmentation.learning_rate_factors={}"]
        run = fit(tiny_joint(*QUIET, *weighted, *rest, "trainer.max_steps=1"))
        return torch.cat([p.detach().flatten() for p in run.task.inpainting.network.backbone.parameters()])

    tiny = 1e-9
    start, inpaint, vis = step(tiny, tiny), step(2.0, tiny), step(tiny, 0.5)
    assert (inpaint - start).norm() > 1e-3 and (vis - start).norm() > 1e-3
    torch.testing.assert_close(step(2.0, 0.5) - start, (inpaint - start) + (vis - start), atol=1e-6, rtol=1e-4)


def test_the_generators_loss_leaves_no_gradient_in_the_discriminator(tiny_joint):
    run = fit(tiny_joint(*QUIET, "trainer.max_steps=1", "trainer.precision=bf16-mixed"))
    assert all(p.grad is None and p.requires_grad for p in run.task.inpainting.discriminator.parameters())


def test_uncertainty_weights_follow_their_formula_and_are_logged(tiny_joint):
    watch = Watch()
    rate = "task.segmentation.optimizer={class_path: torch.optim.SGD, init_args: {lr: 0.01, weight_decay: 0}}"
    learned = ["task.balance=uncertainty", "task.segmentation.gradient_clip=null", *CONSTANT, rate]
    run = fit(tiny_joint(*QUIET, *learned, "trainer.max_steps=2", "task.inpaint_weight=3"), watch)
    first, second = watch.logged
    assert first["loss/total"] == pytest.approx(3 * first["loss/inpaint"] + first["loss/vis"], rel=1e-5)
    # d/ds (exp(-s) w L + s) = 1 - w L at s = 0
    s = {"inpaint": -0.01 * (1 - 3 * first["loss/inpaint"]), "vis": -0.01 * (1 - first["loss/vis"])}
    for name, value in s.items():
        assert second[f"log_variance/{name}"] == pytest.approx(value, rel=1e-3)
    expected = [math.exp(-s[name]) * w * second[f"loss/{name}"] + s[name] for name, w in (("inpaint", 3), ("vis", 1))]
    assert second["loss/total"] == pytest.approx(sum(expected), rel=1e-4)
    assert set(dict(run.task.log_variances)) == {"inpaint", "vis"}


@pytest.mark.parametrize(
    "backbone",
    ["full,reversible", "focal", "psal", "decoupled,checkpoint", "deformable,fast_sttn", "deformable,shared_stem"],
)
def test_every_backbone_trains_under_mixed_precision(tiny_joint, backbone):
    watch = Watch()
    fit(tiny_joint(*QUIET, f"backbone={backbone}", "trainer.max_steps=2", "trainer.precision=bf16-mixed"), watch)
    assert all(math.isfinite(value) for logged in watch.logged for value in logged.values())


@pytest.mark.parametrize("data", ["youtube", "davis"])
def test_two_datasets_are_given_by_their_folders(data):
    roots = ["data.inpainting.root=/a", "data.segmentation.root=/b"]
    plain = compose(["task=joint", f"data={data}", *roots])
    check(plain)
    with pytest.raises(ConfigurationError, match=r"data\.segmentation\.root' is not given"):
        compose(["task=joint", f"data={data}", roots[0]])


def test_a_shared_stem_is_one_for_both_and_learns_from_inpainting(tiny_joint):
    # without a loss of instances to speak of
    run = build(compose(tiny_joint(*QUIET, "backbone=deformable,shared_stem", "task.vis_weight=1e-9", *SGD, *CONSTANT)))
    stem = run.task.segmentation.network.stem
    assert stem is run.task.inpainting.network.stem.image
    before = {name: value.clone() for name, value in stem.state_dict().items()}
    run.trainer.fit(run.task, run.data)
    moved = {name for name, value in stem.state_dict().items() if (value - before[name]).abs().max() > 1e-5}
    assert {name.split(".")[0] for name in moved} == {"body", "projection"}


def test_a_stopped_run_goes_on_exactly_in_the_middle_of_an_epoch_and_beyond_it(tiny_joint):
    videos = ", ".join(f"train-{number:02d}" for number in range(8))
    options = [
        f"data.segmentation.videos=[{videos}]",  # so an epoch ends with the shorter loader, after 4 of 12 batches
        "data.segmentation.clips_per_video=1",
        "data.segmentation.validate_on_training=true",
        "data.inpainting.clips_per_video=1",
        "task.balance=uncertainty",
        "task.inpainting.ema_decay=0.5",
        "task.segmentation.ema_decay=0.5",
        *CONSTANT,
    ]
    cadence = ["trainer.val_check_interval=3", "trainer.limit_val_batches=1", "callbacks.pictures=null"]
    options += [*cadence, "callbacks.overlays=null", "callbacks.last.every_n_train_steps=2"]
    whole = train(tiny_joint("name=whole", *options, "trainer.max_steps=7"))
    part = train(tiny_joint("name=part", *options, "trainer.max_steps=2"))
    train([f"resume={part}", "trainer.max_steps=4"])  # to the end of the epoch
    train([f"resume={part}", "trainer.max_steps=7"])
    assert_same(weights(part), weights(whole))
    assert json.loads((part / "results.json").read_text()) == json.loads((whole / "results.json").read_text())


def test_accumulated_batches_make_one_step_of_all_optimisers(tiny_joint):
    run = fit(tiny_joint(*QUIET, "trainer.max_steps=2", "task.accumulate=3"))
    assert run.trainer.global_step == 2
    assert run.trainer.fit_loop.total_batch_idx + 1 == 6
    for optimizer in run.trainer.optimizers:
        assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def test_each_optimiser_is_clipped_as_its_task_says(tiny_joint):
    class Start(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            self.values = {p: p.detach().clone() for p in pl_module.parameters()}

    clips = ["task.inpainting.gradient_clip=0.001", "task.segmentation.gradient_clip=0.002"]
    rest = [*SGD, *CONSTANT, "task.segmentation.learning_rate_factors={}", "trainer.max_steps=1"]
    start = Start()
    run = fit(tiny_joint(*QUIET, *clips, *rest), start)
    norms = []
    for optimizer in run.trainer.optimizers[:2]:
        moved = [p.detach() - start.values[p] for group in optimizer.param_groups for p in group["params"]]
        norms.append(math.sqrt(sum(float(m.square().sum()) for m in moved)))
    assert norms == pytest.approx([0.1 * 0.002, 0.1 * 0.001], rel=1e-2)


@pytest.mark.parametrize("task", ["inpaint", "vis"])
def test_a_batch_that_is_not_finite_stops_the_run_or_leaves_the_step_out(tiny_joint, task):
    def spoil(batch, index):
        if index == 1:
            batch[task].frames.fill_(torch.nan)

    with pytest.raises(NonFiniteLossError, match=r"not finite for .*train-\d\d"):
        fit(tiny_joint(*QUIET), Watch(spoil))

    class Compare(Watch):
        kept, changed = None, False

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            parts = (pl_module.inpainting.network, pl_module.segmentation.network)
            self.kept = [p.detach().clone() for part in parts for p in part.parameters()]

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            parts = (pl_module.inpainting.network, pl_module.segmentation.network)
            after = [p for part in parts for p in part.parameters()]
            same = all(torch.equal(a, b) for a, b in zip(self.kept, after, strict=True))
            assert same == (batch_idx == 1)
            assert all(p.grad is None for p in after)

    run = fit(tiny_joint(*QUIET, "task.on_nonfinite=skip", "trainer.max_steps=2"), Compare(spoil))
    assert run.task.skipped_steps == 1
    assert run.trainer.fit_loop.total_batch_idx + 1 == 3


def test_a_checkpoint_gives_each_task_its_network(tiny_joint):
    run = train(tiny_joint("name=loads", "callbacks.pictures=null", "callbacks.overlays=null"))
    file = run / "checkpoints" / "last.ckpt"
    task = Joint.load_from_checkpoint(file, map_location="cpu").eval()
    assert task.inpainting.network.backbone is task.segmentation.network.backbone
    generator, discriminator = lightvid.checkpoints.load("sttn", file), lightvid.checkpoints.load("t_patchgan", file)
    segmenter = lightvid.checkpoints.load("vis", file)
    assert generator.checkpoint_report.complete and segmenter.checkpoint_report.complete
    frames, masks = torch.randn(1, 3, 3, 32, 48), torch.ones(1, 3, 1, 32, 48)
    with torch.no_grad():
        assert torch.equal(generator(frames, masks).frames, task.inpainting.validated_network(frames, masks).frames)
        assert torch.equal(discriminator(frames), task.inpainting.discriminator(frames))
        assert torch.equal(segmenter(frames).masks, task.segmentation.validated_network(frames).masks)
    options = SegmenterOptions.of(segmenter)
    assert (options.frames, options.shortest, len(options.category_names)) == (3, 32, 5)
    with pytest.raises(CheckpointError, match="task=joint: load it as"):
        lightvid.checkpoints.load("spynet", file)


def parts(tiny_joint, *arguments, **segmentation):
    """The two tasks of a configuration, with little around their networks."""
    trees = compose(tiny_joint(*arguments))["task"]["init_args"]
    generator, segmenter = (build_module(trees[n]["init_args"]["network"]) for n in ("inpainting", "segmentation"))
    return Inpainting(generator), InstanceSegmentation(segmenter, TrackLoss(), **segmentation)


@pytest.mark.parametrize(
    ("of_segmentation", "options", "message"),
    [
        ({}, {"inpaint_weight": 0}, "task.inpaint_weight=0, task.vis_weight=1.0: expected numbers above 0"),
        ({}, {"balance": "learned"}, "task.balance must be one of fixed, uncertainty"),
        ({"accumulate": 2}, {}, "task.segmentation.accumulate=2: .* set task.accumulate"),
        ({"on_nonfinite": "skip"}, {}, "set task.on_nonfinite"),
        ({"schedule_interval": "epoch"}, {}, "go by steps"),
        ({}, {"share_stem": True}, "a ConvStem has nothing to share .*backbone=shared_stem"),
    ],
)
def test_a_wrong_value_ends_before_training(tiny_joint, of_segmentation, options, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        Joint(*parts(tiny_joint, **of_segmentation), **options)
    assert "\n" not in str(caught.value)


def test_networks_with_different_backbones_are_refused(tiny_joint):
    inpainting, _ = parts(tiny_joint)
    _, segmentation = parts(tiny_joint, "backbone.blocks=2")
    with pytest.raises(ConfigurationError, match="different backbones, and a joint run has one"):
        Joint(inpainting, segmentation)


def test_data_of_one_task_is_refused_in_one_line(tiny_joint, sample_root):
    plain = compose(tiny_joint(*QUIET))
    sizes = {"root": f"{sample_root}/davis", "frames": 3, "height": 32, "width": 56}
    run = build({**plain, "data": {"class_path": "lightvid.datamodules.DAVIS", "init_args": sizes}})
    with pytest.raises(ConfigurationError, match="task=joint needs a JointDataModule, got DAVIS"):
        run.trainer.fit(run.task, run.data)
