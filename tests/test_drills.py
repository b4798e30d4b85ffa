"""The drills see what they are there to see; ``python -m experiments.drills`` does all of them."""

import numpy as np
import pandas as pd
import pytest

from experiments import drill_boards, drill_damage, drill_inputs, drill_kills, drills
from experiments.drill_tools import Ended, Found, same, shown, without_bar
from gidd_jax import checkpoint

BAR = (
    "\r  0%|          | 0.00/3.84k [00:00<?, ?steps/s]\r 67%|####   | 2.56k/3.84k [00:00<00:00, step 40/60, compiling]"
)


def test_what_is_said_is_told_from_the_bar(tmp_path):
    (tmp_path / "log").write_text(f"gidd-jax: one\n{BAR}\r 73%|###  | 2/3 [00:00<00:00, step 52/60]\ngidd-jax: two\n")
    assert without_bar((tmp_path / "log").read_text()) == "gidd-jax: one\ngidd-jax: two"
    assert shown(tmp_path / "log") == (40, 52)
    assert Ended(2, "gidd-jax: one").one_line and not Ended(2, "gidd-jax: one\nTraceback").one_line


def sweep(directory, value, table=b"table"):
    checkpoint.save(directory / "checkpoints" / "g0-0", 5, {"w": np.float32([value, 2])}, {"parts": {}})
    (directory / "metrics.parquet").write_bytes(table)
    return directory


def test_ends_that_differ_in_one_bit_are_not_the_same(tmp_path):
    one = sweep(tmp_path / "one", 1.0)
    assert same(one, sweep(tmp_path / "equal", 1.0))
    assert not same(one, sweep(tmp_path / "state", np.nextafter(np.float32(1), np.float32(2))))
    assert not same(one, sweep(tmp_path / "table", 1.0, b"tablf"))
    assert not same(one, tmp_path)


@pytest.mark.parametrize("how", drill_damage.HOWS)
def test_every_damage_changes_the_file(tmp_path, how):
    path = tmp_path / "file"
    for seed in range(20):
        path.write_bytes(b"abcdef")
        drill_damage.damage(path, how, np.random.default_rng(seed))
        assert not path.exists() if how == "gone" else path.read_bytes() != b"abcdef"


def test_a_loader_that_raises_anything_else_fails_the_drill(tmp_path, monkeypatch):
    def load(path, skip_bad):
        raise KeyError("question")

    monkeypatch.setattr(drill_boards, "KINDS", {"sound": lambda rng: (".csv", b"question,answer\n")})
    monkeypatch.setattr(drill_boards.sudoku, "load", load)
    result = drill_boards.fuzz(tmp_path, 1)
    assert result.broken == ["file 0 of seed 0 (sound): KeyError: 'question'"]


def test_table_and_figure():
    text = drills.table([Found("a", 3, "seen " * 30, True), Found("longer name", 10_000, "x", False)])
    lines = text.splitlines()
    assert lines[1].endswith("holds") and lines[-1].endswith("FAILS") and "10,000" in lines[-1]
    assert len({len(line) for line in (lines[1], lines[-1])}) == 1
    every = pd.DataFrame(
        {"kill": [1, 2], "moment": ["training", "start-up"], "saved": [40, 40]}
        | {"resumed_from": pd.array([0, None], "Int64"), "last_step_shown": pd.array([60, None], "Int64")}
    )
    (ax,) = drills.drawn(every).axes
    assert ax.get_xlabel() == "kill" and "step" in ax.get_ylabel()


@pytest.mark.slow
def test_five_kills(tmp_path, monkeypatch):
    monkeypatch.setattr(drill_kills, "STEPS", 30 * drill_kills.EVERY)
    line, every = drill_kills.kills(tmp_path, 5, np.random.default_rng(1))
    assert line.held, line.seen
    assert list(every["moment"]) == list(drill_kills.MOMENTS)


@pytest.mark.slow
def test_damage_done_to_every_file(tmp_path):
    for line in drill_damage.damages(tmp_path, 40, np.random.default_rng(1)):
        assert line.held, line


@pytest.mark.slow
def test_clocks_years_apart(tmp_path):
    line = drill_inputs.clocks(tmp_path, np.random.default_rng(1))
    assert line.held, line.seen
