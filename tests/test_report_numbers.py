"""What a page is made of, before it is one: intervals, references, axes, curves that are thinned."""

import numpy as np
import pandas as pd
import pytest

from gidd_jax.analysis import failures, intervals_by, mean_interval, references
from gidd_jax.report import axes
from gidd_jax.report.panels import panels
from gidd_jax.report.told import tell
from tests import sweeps


def test_grouped_intervals_are_those_of_each_group():
    noise = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"a": noise.integers(3, size=40), "b": noise.integers(2, size=40), "value": noise.normal(size=40)}
    )
    rows.loc[rows["a"] == 1, "value"] = np.where(np.arange((rows["a"] == 1).sum()) == 0, 0.25, np.inf)
    for line in intervals_by(rows, ["a", "b"]).itertuples(index=False):
        values = rows.loc[(rows["a"] == line.a) & (rows["b"] == line.b), "value"]
        np.testing.assert_allclose(line[2:], mean_interval(values), rtol=1e-12)


def test_failures_and_references():
    table = sweeps.killed(sweeps.table(), 5, 200)
    assert failures(table).to_dict("records") == [{"group": "g0", "row": f"{5:012x}", "step": 200}]
    assert failures(sweeps.table()).empty
    measured = {"holding_loss", "holding_floor", "holding_floor/t", "r", "r_theory", "control_fine/fork", "oracle_elbo"}
    assert references("holding_loss", measured) == ["holding_floor"]
    assert references("holding_loss/t", measured) == ["holding_floor/t"]
    assert references("r", measured) == ["r_theory"] and references("jump_loss", measured) == []
    assert references("fine/fork", measured) == ["control_fine/fork"] and references("elbo", measured) == [
        "oracle_elbo"
    ]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7.9), (1e-8, 3e-8), (0.99991, 1.00002), (0, 123456), (5, 5)])
def test_ticks_are_round_numbers_within_the_range(low, high):
    found = axes.ticks(low, high)
    assert 1 <= len(found) <= 6 and all(low - 1e-9 * abs(low) <= value <= high * (1 + 1e-9) for value, _ in found)
    assert len({text for _, text in found}) == len(found)
    sizes = {"k": 1e3, "M": 1e6}
    for value, text in found:
        number = float(text.rstrip("kM").replace("−", "-")) * sizes.get(text[-1], 1)
        assert number == pytest.approx(value, rel=1e-9, abs=1e-12)


def test_a_wild_interval_does_not_flatten_the_lines():
    low, high = axes.limits([1.0, 2.0], [-50.0, 53.0])
    assert low == pytest.approx(0.42) and high == pytest.approx(2.58)
    assert axes.limits([np.nan], []) == (0.0, 1.0)


def test_a_dial_of_many_magnitudes_stands_by_its_logarithm():
    places = axes.dial("x", [0.0, 0.01, 0.1, 1.0])["pos"]
    even = axes.dial("x", np.linspace(0, 1, 65).tolist())
    np.testing.assert_allclose(np.diff(even["pos"]), 0.92 / 64, atol=1e-4)
    assert [text for _, text in even["ticks"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    np.testing.assert_allclose(np.diff(places), 0.92 / 3, atol=1e-4)
    np.testing.assert_allclose(np.diff(axes.dial("x", [0.0, 1.0, 3.0])["pos"]), [0.92 / 3, 1.84 / 3], atol=1e-4)


@pytest.mark.parametrize(("steps", "said"), [(300, "train, 120 of 300 measured steps"), (90, "train")])
def test_a_curve_of_more_steps_than_a_page_holds_says_so(steps, said):
    rows = [("", f"row{seed}", seed, 0.5, step, seed + step) for seed in range(2) for step in range(steps)]
    table = pd.DataFrame(rows, columns=["group", "row", "seed", "coupling", "step", "value"])
    table = table.assign(split="train", metric="loss", bin=-1, presentations=0)
    told = tell(table, "coupling", [], derive=False)
    way = panels(told, [("", "loss")], "coupling").metrics[0]["way"]
    assert way["where"] == said
    assert way["mean"][0][-1] == steps - 0.5  # the last step is kept
