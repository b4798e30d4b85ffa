"""The command as a user meets it: exit statuses, one line for what is wrong, files for what is right."""

import argparse
import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gidd_jax import __version__, cli, config, ledger
from gidd_jax.commands import flags
from gidd_jax.errors import InputError
from gidd_jax.studies import sudoku

SMALL = (
    "--steps 4 --d-model 8 --heads 2 --layers 1 --batch 4 --eval-boards 8 --decode-boards 4 --decode 8 --quiet".split()
)


def run(capsys, *words):
    status = cli.main(list(map(str, words)))
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    words = ["sweep", "sudoku", "--data", "4x4", "--seeds", "0", "1", "--coupling", "0", "1", "--out", directory]
    assert cli.main([*map(str, words), *SMALL]) == 0
    return directory


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"gidd-jax {__version__}\n"
    module = subprocess.run([sys.executable, "-m", "gidd_jax", "--version"], capture_output=True, text=True, check=True)
    assert module.stdout == f"gidd-jax {__version__}\n"
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            cli.main([name, "--help"])
        assert stopped.value.code == 0
        told = capsys.readouterr().out
        assert f"example: gidd-jax {name}" in told
        assert len(told.splitlines()) <= 40 and max(map(len, told.splitlines())) <= 100  # a screen


@pytest.mark.parametrize("name", flags.STUDIES)
def test_every_flag_of_a_study_is_named_on_a_screen_and_explained_in_full(name, capsys):
    told = {}
    for asked in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            cli.main(["sweep", name, asked])
        told[asked] = capsys.readouterr().out
    assert len(told["--help"].splitlines()) <= 40 and max(map(len, told["--help"].splitlines())) <= 100
    study = flags.study(name)
    fields = [*config.dials(study.Hyper), *(field.name for field in dataclasses.fields(study.Config))]
    for field in set(fields) - {"seed", "coupling"}:
        flag = f"--{field.replace('_', '-')}"
        assert re.search(rf"(?<!\S){flag}(?!\S)", told["--help"]), flag
        explained = re.search(rf"^  {flag}(?=[ ,])(.*\n(?:   +\S.*\n)?)", told["--help-all"], re.M)
        assert explained and len(explained.group(1).split()) > 2, flag


def test_a_sweep_leaves_its_files(swept):
    names = {path.name for path in swept.iterdir()}
    assert {"config.json", "metrics.parquet", "checkpoints", "figures"} <= names
    assert {path.name for path in (swept / "figures").iterdir()} == {
        "against_coupling.png",
        "by_t.png",
        "learning_curves.png",
    }
    table = pd.read_parquet(swept / "metrics.parquet")
    assert table["row"].nunique() == 4
    assert set(table["split"]) == {"train", "validation", "test"}
    assert set(table.loc[table["metric"] == "benefit_jump", "attention"]) == {0.0, 1.0}
    settings = json.loads((swept / "config.json").read_text())["groups"][0]["config"]
    assert (settings["d_model"], settings["trunk"], settings["dial"]) == (8, "towers", "attention")


def test_the_coupling_flag_fills_the_column_of_the_dial():
    parser = argparse.ArgumentParser()
    flags.add_dials(parser, sudoku.Hyper)
    flags.add_settings(parser, sudoku.Config)
    for trunk, dial in (("shared", "gradient"), ("towers", "attention")):
        args = parser.parse_args(["--coupling", "0", "1", "--trunk", trunk])
        assert flags.columns(args, flags.settings(args, sudoku.Config).dial) == {dial: [0.0, 1.0]}


@pytest.mark.slow
def test_the_coupling_flag_moves_the_dial_of_the_trunk(tmp_path, capsys):
    words = ["sweep", "sudoku", "--data", "4x4", "--trunk", "shared", "--coupling", "0", "1", "--out", tmp_path]
    assert run(capsys, *words, *SMALL)[0] == 0
    table = ledger.table(tmp_path)
    assert set(table["gradient"]) == {0.0, 1.0}
    assert set(table["attention"]) == {0.0}
    assert "tower_cka" not in set(table["metric"])


def test_evaluate_sample_plot_and_export(swept, tmp_path, capsys):
    status, out, _ = run(capsys, "evaluate", swept, "--decode", 1, 8, "--out", tmp_path / "more.parquet")
    assert status == 0 and "@1" in out and "@8" in out
    table = pd.read_parquet(tmp_path / "more.parquet")
    assert set(table["split"]) == {"test"}
    row = table["row"].iloc[0]
    status, out, _ = run(capsys, "sample", swept, "--row", row[:8], "--board", "1234341221434321", "1...............")
    assert status == 0 and "violations 0" in out and out.count("->") == 2
    words = [
        "sample",
        swept,
        "--row",
        row,
        "--board",
        "1...............",
        "--sampler",
        "resample",
        "--steps",
        3,
        "--cells",
        16,
    ]
    status, out, _ = run(capsys, *words, "--trace")
    assert status == 0 and "resample, 3 calls: violations" in out and "cells right" not in out
    assert [line.split(":")[0] for line in out.splitlines() if line.startswith("step")] == [
        "step 1",
        "step 2",
        "step 3",
    ]
    assert " and " in out and "r1c1 " not in out
    status, out, _ = run(capsys, "plot", swept, "--out", tmp_path / "figures")
    assert status == 0 and (tmp_path / "figures" / "by_t.png").stat().st_size > 10_000
    assert run(capsys, "export", swept, "--row", row, "--out", tmp_path / "one")[0] == 0
    with np.load(tmp_path / "one" / "params.npz", allow_pickle=False) as params:
        assert params["jump/kernel"].shape == (1, 8, 4)


@pytest.mark.slow
def test_an_exported_model_is_sampled_and_measured_as_its_row_was(swept, tmp_path, capsys):
    row = ledger.table(swept)["row"].iloc[0]
    assert run(capsys, "export", swept, "--row", row, "--out", tmp_path / "one")[0] == 0
    asked = ["--decode", 8, "--samplers", "k-pass", "--out"]
    assert run(capsys, "evaluate", swept, *asked, tmp_path / "rows.parquet")[0] == 0
    status, out, _ = run(capsys, "evaluate", tmp_path / "one", *asked, tmp_path / "row.parquet")
    assert status == 0 and "k-pass" in out
    rows, alone = (pd.read_parquet(tmp_path / name) for name in ("rows.parquet", "row.parquet"))
    pair = rows[rows["row"] == row].merge(alone, on=["row", "step", "presentations", "split", "metric", "bin"])
    assert len(pair) == len(alone) > 100
    np.testing.assert_array_equal(pair["value_x"], pair["value_y"])
    one, same = (run(capsys, "sample", *words)[1] for words in ([swept, "--row", row], [tmp_path / "one"]))
    assert one == same


def test_a_model_that_belongs_to_no_study_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "params.npz", x=np.zeros(1))
    for about, told in (
        ("{}", "cannot be read"),
        ('{"model": "dit", "config": {}}', "holds a model of no study (dit)"),
    ):
        (tmp_path / "config.json").write_text(about)
        for command in ("sample", "evaluate"):
            status, _, err = run(capsys, command, tmp_path)
            assert status == 2 and told in err and err.count("\n") == 1


@pytest.mark.slow
def test_a_sweep_starts_from_an_exported_row(swept, tmp_path, capsys):
    row = ledger.table(swept)["row"].iloc[0]
    run(capsys, "export", swept, "--row", row, "--out", tmp_path / "one")
    words = ["sweep", "sudoku", "--data", "4x4", "--init-from", tmp_path / "one", "--learning-rate", 0]
    assert run(capsys, *words, *SMALL, "--out", tmp_path / "warm")[0] == 0
    cold, warm = ledger.table(swept), ledger.table(tmp_path / "warm")
    pick = lambda t, step: t[(t["metric"] == "jump_loss") & (t["split"] == "validation") & (t["step"] == step)]  # noqa: E731
    started = pick(warm, 0)["value"].item()
    np.testing.assert_allclose(started, pick(cold[cold["row"] == row], 4)["value"].item(), rtol=1e-5)
    words[-2:] = ["--d-ff", "16"]
    status, _, err = run(capsys, *words, *SMALL, "--out", tmp_path / "other")
    assert (
        status == 2
        and err.count("\n") == 1
        and "--init-from holds another model: its blocks_0/feed/out/kernel is (2, 32, 8)" in err
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["swep"], "invalid choice: 'swep'"),
        (["sweep", "chess"], "no study 'chess'; there are sudoku"),
        (["sweep", "sudoku", "--steps", "many"], "--steps: invalid int value: 'many'"),
        (["sweep", "sudoku", "--step", "5"], "unrecognized arguments: --step 5"),
        (["sweep", "sudoku", "--steps", "0"], "--steps 0: between 1 and"),
        (["sweep", "sudoku", "--coupling", "2"], "attention=2.0: outside its range [0, 1]"),
        (["sweep", "sudoku", "--coupling", "nan"], "attention=nan: not a finite number"),
        (["sweep", "sudoku", "--coupling", "0", "--attention", "1"], "--coupling moves attention here"),
        (["sweep", "sudoku", "--seeds", "1", "1"], "row 2 of the grid repeats an earlier one: seed=1"),
        (["sweep", "sudoku", "--data", "4x4", "--heads", "3"], "d_model 128 must be a multiple of 2 x heads"),
        (["sweep", "sudoku", "--data", "4x4", "--gate", "1"], "gate > 0 moves nothing here: it needs --gated"),
        (["sweep", "sudoku", "--data", "4x4", "--tier", "7"], "tier 7: no boards of it in every split"),
        (["sweep", "sudoku", "--data", "nowhere.csv"], "nowhere.csv"),
        (["sweep", "sudoku", "--data", "4x4", "--trunk", "tree"], "--trunk tree: not one of towers, shared"),
        (["sweep", "sudoku", "--data", "4x4", "--init-from", "nowhere"], "no exported parameters there"),
        (["sweep", "sudoku", "--data", "4x4", "--frozen", "zzz"], "--frozen 'zzz' must match some parameters"),
        (["sweep", "sudoku", "--rating", "1"], "--rating takes two numbers, LOW and HIGH"),
        (["sweep", "sudoku", "--average", "1"], "--average 1.0: must be at least 0 and below 1"),
        (["sweep", "sudoku", "--frozen", "["], "--frozen '[': not a regular expression"),
        (["sweep", "sudoku", "--data", "4x4", "--ramp-steps", "2000"], "ramp_steps 2000: more than the 1000 steps"),
        (["evaluate", "nowhere"], "nowhere: no sweep here (no config.json)"),
        (["evaluate", "a.txt"], "a.txt: no sweep here (no config.json)"),
        (["export", "."], "config.json: cannot be read (not written by gidd-jax: it has no 'study')"),
        (["plot", "nowhere"], "nowhere: no finished sweep here (no metrics.parquet)"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("no boards")
    (tmp_path / "config.json").write_text("{}")
    status, out, err = run(capsys, *words)
    assert status == 2
    assert told in err
    assert err.startswith("gidd-jax: ") and err.count("\n") == 1 and out == ""
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_bad_row_is_named_or_skipped(tmp_path, capsys):
    good = "1234341221434321"
    lines = ["question,answer", *[f"1...............,{good}"] * 12, f"2...............,{good}"]
    path = tmp_path / "boards.csv"
    path.write_text("\n".join(lines) + "\n")
    words = ["sweep", "sudoku", "--data", path, "--out", tmp_path / "run", *SMALL]
    status, _, err = run(capsys, *words)
    assert status == 2 and "boards.csv" in err and "row 13" in err and err.count("\n") == 1
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.slow
def test_evaluation_on_other_boards_says_what_training_saw(swept, capsys):
    status, out, _ = run(capsys, "evaluate", swept, "--data", "4x4", "--decode", 8)
    assert status == 0 and "split given" in out
    assert "4x4: 4" in out and "of 6000 boards share a solution with the training boards" in out
    status, _, err = run(capsys, "evaluate", swept, "--data", "6x6")
    assert status == 2 and "its boards have 36 cells, the model's 16" in err


def test_rows_are_listed_and_boards_that_contradict_themselves_refused(swept, capsys):
    status, out, _ = run(capsys, "export", swept)
    assert status == 0 and out.count("\n") == 4 and "seed=1 attention=1" in out
    row = out.split()[0]
    assert run(capsys, "sample", swept, "--row", row, "--board", "11..............")[0] == 2
    assert run(capsys, "sample", swept, "--row", row, "--count", "1")[0] == 0
    for words, told in (
        ([], "--row ID: which row of the sweep?"),
        (["--row", row, "--sampler", "remask"], "sampler remask: needs --noise masked, not uniform"),
        (
            ["--row", row, "--board", "1" + 15 * ".", "--sampler", "k-pass+oracle_jump"],
            "an oracle needs boards with one",
        ),
    ):
        status, _, err = run(capsys, "sample", swept, *words)
        assert status == 2 and told in err and err.count("\n") == 1


def test_unknown_row_and_closed_pipe(swept, capsys):
    status, _, err = run(capsys, "export", swept, "--row", "zz", "--out", swept / "x")
    assert status == 2 and "row 'zz': no such row; there are 4: g0:" in err
    piped = f"{sys.executable} -m gidd_jax.cli plot {swept} --out {swept}/again | head -n 1"
    out = subprocess.run(["bash", "-o", "pipefail", "-c", piped], capture_output=True, text=True)
    assert out.stdout.startswith("Performance") and out.stderr == ""


def test_one_call_leaves_nothing_to_profile(tmp_path, capsys):
    words = ["sweep", "sudoku", "--data", "4x4", "--out", tmp_path / "run", *SMALL, "--profile", tmp_path / "profile"]
    status, _, err = run(capsys, *words, "--log-every", 4, "--eval-every", 4)
    assert status == 2 and err.startswith("gidd-jax: nothing to profile: 4 steps are one call") and err.count("\n") == 1


@pytest.mark.parametrize(("told", "least", "most"), [("", 2, 1024), ("3", 3, 3)])
def test_a_cpu_is_a_device_a_core_unless_told(told, least, most):
    """In a process of its own, whose backend has not started."""
    code = f"from gidd_jax.commands import flags; flags.prepare_jax({told}); import jax; print(jax.device_count())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert least <= int(found.stdout) <= most


def test_fewer_devices_than_one_are_refused():
    with pytest.raises(InputError, match="--host-devices -1: give 1 or more"):
        flags.prepare_jax(-1)
