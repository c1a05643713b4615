"""Sweeps: the values that runs get, runs without a server, and what is handed to W&B."""

import csv
import itertools
import json
import math
import sys

import pytest
import wandb
import yaml

from lightvid.commands import sweep
from lightvid.errors import ConfigurationError
from lightvid.sweeps import choices, command_of, load_sweep
from lightvid.training import train

SPEC = {
    "name": "small",
    "method": "random",
    "metric": {"name": "val/hole_psnr", "goal": "maximize"},
    "parameters": {
        "task.generator_optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "backbone.blocks": {"values": [1, 2]},
        "data.batch_size": {"min": 1, "max": 3},
    },
    "command": ["${env}", "${interpreter}", "-m", "lightvid", "train", "${args_no_hyphens}"],
}


def drawn(parameters, number=200, **changes):
    return list(itertools.islice(choices({**SPEC, "parameters": parameters, **changes}, seed=0), number))


def test_random_values_keep_to_their_ranges_and_repeat_with_the_seed():
    runs = drawn(SPEC["parameters"])
    assert runs == drawn(SPEC["parameters"])
    rates = [run["task.generator_optimizer.lr"] for run in runs]
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert 0.35 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.65, "half of them below the geometric mean"
    assert {run["backbone.blocks"] for run in runs} == {1, 2}
    assert {run["data.batch_size"] for run in runs} == {1, 2, 3}
    uniform = [run["x"] for run in drawn({"x": {"min": 0.0, "max": 1.0}})]
    assert math.isclose(sum(uniform) / len(uniform), 0.5, abs_tol=0.1)


def test_a_grid_has_every_combination_once():
    runs = drawn({"a": {"values": [1, 2]}, "b": {"values": ["x", "y"]}, "c": {"value": 3}}, method="grid")
    assert sorted((run["a"], run["b"], run["c"]) for run in runs) == [(a, b, 3) for a in (1, 2) for b in "xy"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "bayes"}, "needs W&B"),
        ({"parameters": {"x": {"distribution": "q_beta", "min": 1, "max": 2}}}, "parameters.x: q_beta"),
        ({"parameters": {"x": {"min": 1}}}, "parameters.x: expected"),
        ({"parameters": {"x": {"min": 1, "max": 2}}, "method": "grid"}, "parameters.x: a grid"),
    ],
)
def test_what_only_the_server_can_draw_is_refused(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        next(choices({**SPEC, **changes}, seed=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("parameters: {seed: 3}", "parameters.seed: expected a mapping"),
        ("parameters: {seed: {values: 3}}", "parameters.seed.values: expected a list"),
        ("parameters: {seed: {values: [1, 2], probabilities: [1.0]}}", "seed.probabilities: expected 2 numbers"),
        ("parameters: {seed: {values: [1, 2], probabilities: [0, 0]}}", "seed.probabilities: expected 2 numbers"),
        ("parameters: {seed: {min: low, max: 3}}", "parameters.seed.min: expected a number, got low"),
        ("metric: {name: val/AP, goal: maximise}", "metric.goal is minimize or maximize, got 'maximise'"),
    ],
)
def test_a_malformed_file_is_answered_in_one_line(tmp_path, change, message):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**SPEC, **yaml.safe_load(change)}))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_sweep(str(file))
    assert "\n" not in str(caught.value)


def test_limits_without_a_point_are_numbers_though_yaml_reads_text(tmp_path):
    parameters = "{task.generator_optimizer.lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-2}}"
    spec = {**SPEC, "parameters": yaml.safe_load(parameters)}
    assert spec["parameters"]["task.generator_optimizer.lr"]["min"] == "1e-4"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(spec))
    read = load_sweep(str(tmp_path / "mine.yaml"))
    assert 1e-4 <= next(choices(read, seed=0))["task.generator_optimizer.lr"] <= 1e-2


def test_a_run_gets_the_very_values_that_were_chosen():
    from lightvid.configuration import compose

    choice = {
        "task.schedule": None,
        "task.generator_optimizer.lr": 1e-6,
        "task.generator_optimizer.betas": [0.0, None],
        "compile": True,
        "name": "one of two",
    }
    plain = compose(command_of(SPEC, choice)[4:])
    task = plain["task"]["init_args"]
    assert task["schedule"] is None
    assert task["generator_optimizer"]["init_args"] == {"lr": 1e-6, "betas": [0.0, None]}
    assert (plain["compile"], plain["name"]) == (True, "one of two")


@pytest.mark.parametrize("name", ["inpaint", "vis"])
def test_the_sweeps_that_come_along_make_runs_of_their_task(name):
    from lightvid.building import check
    from lightvid.configuration import compose

    spec = load_sweep(name)
    command = command_of(spec, next(choices(spec, seed=1)))
    assert command[1:4] == ["-m", "lightvid", "train"]
    plain = compose(command[4:])
    assert plain["choice"]["task"] == name
    check(plain)
    assert spec["metric"]["name"] == plain["callbacks"]["best"]["init_args"]["monitor"]


def test_a_local_sweep_trains_and_ranks_its_runs(tiny, tmp_path, capsys, monkeypatch):
    def succeeds(command):  # in this process, which has imported everything already
        assert command[:4] == [sys.executable, "-m", "lightvid", "train"]
        try:
            train(command[4:])
        except ConfigurationError:
            return False
        return True

    monkeypatch.setattr(sweep, "_succeeds", succeeds)
    file = tmp_path / "small.yaml"
    parameters = {"task.generator_optimizer.lr": {"values": [1e-6, "not-a-rate", 1e-2]}}
    file.write_text(yaml.safe_dump({**SPEC, "method": "grid", "parameters": parameters}))
    arguments = tiny("trainer.max_steps=2", "callbacks.pictures=null")
    sweep.run([str(file), "--local", "--count", "4", "--out", str(tmp_path / "sweeps"), *arguments])
    rows = list(csv.DictReader((tmp_path / "sweeps/small/sweep.csv").open()))
    assert {row["run"] for row in rows} == {"001", "002", "003"}
    assert rows[-1] == {"run": "002", "task.generator_optimizer.lr": "not-a-rate", "val/hole_psnr": ""}
    best, second = (float(row["val/hole_psnr"]) for row in rows[:2])
    assert best > second > 0
    for row in rows[:2]:
        results = json.loads((tmp_path / "sweeps/small" / row["run"] / "results.json").read_text())
        assert results["lightvid"]["hole_psnr"] == float(row["val/hole_psnr"])
    assert "failed" in capsys.readouterr().out


def test_a_choice_of_nothing_is_no_failure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "_succeeds", lambda command: True)
    monkeypatch.setattr(sweep, "_result", lambda folder, metric: 20.0)
    file = tmp_path / "small.yaml"
    file.write_text(
        yaml.safe_dump({**SPEC, "method": "grid", "parameters": {"task.ema_decay": {"values": [None, 0.9]}}})
    )
    sweep.run([str(file), "--local", "--out", str(tmp_path / "sweeps")])
    printed = capsys.readouterr().out
    assert "null" in printed
    assert "failed" not in printed
    with pytest.raises(ConfigurationError, match="'name=mine': each run has a name of its own"):
        sweep.run([str(file), "--local", "name=mine"])


def test_wandb_gets_the_file_and_its_agent_the_count(monkeypatch):
    calls = {}
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda prompt: True)
    monkeypatch.setattr(wandb, "sweep", lambda spec, project: calls.update(spec=spec, project=project) or "id7")
    monkeypatch.setattr(wandb, "agent", lambda number, project, count: calls.update(number=number, count=count))
    sweep.run(["inpaint", "--count", "3", "data.root=elsewhere"])
    assert (calls["number"], calls["count"], calls["project"]) == ("id7", 3, "lightvid")
    assert calls["spec"]["command"][-2:] == ["data.root=elsewhere", "${args_no_hyphens}"]


def test_mistakes_are_answered_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda prompt: False)
    for arguments, message in (
        (["inpaint"], "wandb login, or --local"),
        (["inpant", "--local"], "did you mean 'inpaint'"),
        (["inpaint", "--lokal"], "--lokal"),
    ):
        with pytest.raises(ConfigurationError, match=message) as caught:
            sweep.run(arguments)
        assert "\n" not in str(caught.value)
    (tmp_path / "empty.yaml").write_text("method: random\n")
    with pytest.raises(ConfigurationError, match="needs 'parameters'"):
        sweep.run([str(tmp_path / "empty.yaml"), "--local"])
