"""What is changed on the way into a resumed run: refused in one line, and the run is left as it was."""

import json
import shutil
from csv import DictReader
from pathlib import Path

import pytest
import torch

from lightvid.configuration import compose
from lightvid.errors import CheckpointError, ConfigurationError
from lightvid.tasks.resuming import refuse_changes
from lightvid.training import evaluate, train

QUIET = ("callbacks.pictures=null", "trainer.max_steps=2", "trainer.limit_val_batches=1")


def without_a_category(sample, root):
    """The sample data of instances, with one category less."""
    shutil.copytree(sample, root)
    for file in (root / "youtube_vis").glob("*.json"):
        content = json.loads(file.read_text())
        last = content["categories"].pop()["id"]
        content["annotations"] = [track for track in content["annotations"] if track["category_id"] != last]
        file.write_text(json.dumps(content))
    return root


def test_data_of_other_classes_do_not_go_on_with_a_run(tiny_vis, sample_root, tmp_path):
    run = train(tiny_vis("name=five", *QUIET))
    written = (run / "config.yaml").read_bytes()
    root = without_a_category(sample_root, tmp_path / "four")
    for command in (
        lambda: train([f"resume={run}", f"data.root={root}", "trainer.max_steps=3"]),
        lambda: evaluate([f"run={run}", f"data.root={root}"]),
    ):
        with pytest.raises(ConfigurationError, match="categories differ from those of the checkpoint") as caught:
            command()
        assert "\n" not in str(caught.value)
    assert (run / "config.yaml").read_bytes() == written


def content(run):
    return {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}


def test_an_epoch_does_not_go_on_with_other_batches(tiny, sample_root, tmp_path):
    run = train(tiny("name=part", "task.schedule=null", *QUIET, "trainer.max_steps=3"))  # in the first epoch
    renamed = shutil.copytree(sample_root, tmp_path / "renamed")
    for list_file in (renamed / "davis/ImageSets").rglob("*.txt"):
        first, *others = list_file.read_text().split()
        list_file.write_text("\n".join([*others, first]))
    before = content(run)
    assert len(before[Path("metrics.csv")].splitlines()) > 3
    changes = {
        "seed=1": r"seed=1 \(was 0\)",
        "data.batch_size=1": r"data\.batch_size x processes = 1 \(was 2\)",
        "data.clips_per_video=3": r"data\.clips_per_video=3 \(was 10\)",
        f"data.root={renamed}": r"data\.root with other videos",
    }
    for checkpoint in (run, run / "checkpoints/best.ckpt"):  # the best is of step 2
        for change, message in changes.items():
            with pytest.raises(ConfigurationError, match=f"{message}: set it back to resume.*init_from") as caught:
                train([f"resume={checkpoint}", "trainer.max_steps=4", change])
            assert "\n" not in str(caught.value)
            assert content(run) == before
    train([f"resume={run}", "trainer.max_steps=4"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert len((run / "metrics.csv").read_text().splitlines()) > len(before[Path("metrics.csv")].splitlines())


@pytest.fixture
def short_run(tiny):
    return train(tiny("name=short", *QUIET))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["task.generator_optimizer.class_path=torch.optim.SGD", "task.generator_optimizer.lr=0.1"],
            r"task\.generator_optimizer\.class_path=torch\.optim\.SGD was torch\.optim\.Adam",
        ),
        (["task.generator_optimizer.lr=0.1"], r"task\.generator_optimizer\.lr=0\.1 was 0\.001"),
        (["task.discriminator_optimizer.betas=[0.5, 0.9]"], r"task\.discriminator_optimizer\.betas=.* was \[0\.0, 0"),
        (["task.discriminator_optimizer.weight_decay=0.1"], r"task\.discriminator_optimizer\.weight_decay=0\.1 was 0"),
        (["task.ema_decay=0.9"], r"task\.ema_decay=0\.9 was null"),
    ],
)
def test_a_resumed_run_keeps_its_optimisers_and_its_average(short_run, changes, message):
    before = content(short_run)
    with pytest.raises(ConfigurationError, match=f"^{message}.* when this run began: .*init_from") as caught:
        train([f"resume={short_run}", "trainer.max_steps=3", *changes])
    assert "\n" not in str(caught.value)
    assert content(short_run) == before
    # a default that is written out is no change
    train([f"resume={short_run}", "trainer.max_steps=3", "task.generator_optimizer.weight_decay=0"])


@pytest.mark.parametrize("change", ["learning_rate_factors={stem: 0.5}", "schedule_interval=epoch", "optimizer.lr=0.1"])
def test_a_resumed_run_keeps_what_its_rates_are_made_of(tiny_vis, change):
    now = compose(tiny_vis())["task"]
    key = change.partition("=")[0]
    with pytest.raises(ConfigurationError, match=rf"task\.{key}=.* was .* when this run began"):
        refuse_changes(now, compose(tiny_vis(f"task.{change}"))["task"])
    refuse_changes(now, now)


def learning_rates(run):
    """The rates of all groups, by step."""
    with (run / "metrics.csv").open(newline="") as stream:
        rows = [
            (int(row["step"]), {key: value for key, value in row.items() if key.startswith("lr-") and value})
            for row in DictReader(stream)
        ]
    return {step: rates for step, rates in rows if rates}


WARMUP = "task.schedule={class_path: lightvid.tasks.schedules.WarmupCosine, init_args: {steps: 6, warmup: 5}}"


@pytest.mark.parametrize(
    ("fixture", "at_first", "then"),
    [
        ("tiny", [], []),  # the schedules end with trainer.max_steps
        ("tiny_vis", [], []),
        ("tiny_joint", [], []),
        ("tiny_vis", ["task.schedule_interval=epoch", "trainer.limit_train_batches=1"], []),
        ("tiny", ["task.schedule=null"], [WARMUP]),
        ("tiny", [WARMUP], ["task.schedule=null"]),
    ],
)
def test_a_run_that_trains_longer_follows_its_schedule_as_if_that_had_been_so_from_the_beginning(
    request, capsys, fixture, at_first, then
):
    quiet = ["trainer.limit_val_batches=0", "callbacks.pictures=null"]
    arguments = request.getfixturevalue(fixture)
    whole = train(arguments(*quiet, *at_first, *then, "name=whole", "trainer.max_steps=6"))
    part = train(arguments(*quiet, *at_first, "name=part", "trainer.max_steps=2"))
    assert "schedule has changed" not in capsys.readouterr().out
    train([f"resume={part}", *then, "trainer.max_steps=4"])
    # an epoch whose last batch is trained on ends in the resumed run
    step = 1 if "task.schedule_interval=epoch" in at_first else 2
    assert f"schedule has changed: its step {step} comes next, with a rate of" in capsys.readouterr().out
    train([f"resume={part}", "trainer.max_steps=6"])
    rates = learning_rates(whole)
    assert set(rates) == set(range(6))
    found = learning_rates(part)
    assert {step: found[step] for step in (4, 5)} == {step: rates[step] for step in (4, 5)}
    one, other = (torch.load(run / "checkpoints/last.ckpt", weights_only=True) for run in (whole, part))
    assert one["lr_schedulers"] == other["lr_schedulers"]
    for state, expected in zip(other["optimizer_states"], one["optimizer_states"], strict=True):
        assert state["param_groups"] == expected["param_groups"]


def test_after_an_epoch_that_a_limit_ended_the_next_may_have_other_batches(tiny):
    limit = "trainer.limit_train_batches=2"
    run = train(tiny("name=short", "task.schedule=null", *QUIET, limit))
    train([f"resume={run}", "trainer.max_steps=4", "seed=1"])
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    assert "seed: 1" in (run / "config.yaml").read_text()


def test_a_run_that_has_no_best_checkpoint_yet_is_evaluated_by_its_last(tiny):
    run = train(tiny("name=early", *QUIET))
    (run / "checkpoints/best.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint; .* checkpoint=last takes"):
        evaluate([f"run={run}"])
    assert evaluate([f"run={run}", "checkpoint=last"])["lightvid"]["psnr"] > 0
    (run / "checkpoints/last.ckpt").unlink()
    with pytest.raises(CheckpointError, match=r"best\.ckpt: no such checkpoint$"):
        evaluate([f"run={run}"])
