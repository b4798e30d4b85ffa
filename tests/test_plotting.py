"""Figures hold what they should, write whole files, and survive tables with almost nothing in them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from gidd_jax import plotting, plotting_samplers
from gidd_jax.errors import InputError

BINS = np.arange(10)


def sweep_table(dials=(0.0, 0.5, 1.0), seeds=3, evaluations=4, groups=("4x4",), cells=(1, 10)):
    """A sweep that learns: every Sudoku metric at every evaluation, the last also on test."""
    noise = np.random.default_rng(0)
    parts = []
    for group in groups:
        for dial in dials:
            for seed in range(seeds):
                for at in range(evaluations):
                    learnt = at / max(evaluations - 1, 1) * (0.8 + 0.05 * dial)
                    metrics = {"jump_loss": 2.2 - learnt, "jump_accuracy": 0.11 + learnt, "separation": learnt}
                    metrics |= {"holding_loss": 0.7 - learnt / 2, "holding_floor": 0.14, "separation_ceiling": 0.84}
                    orders = ("knockout_zero", "knockout_shuffle")
                    scalars = metrics | {f"{o}_{h}": dial * learnt for o in orders for h in ("jump", "holding")}
                    scalars |= {"gradient_cosine": 0.1, "tower_cka": 0.3 + dial * learnt / 3}
                    scalars |= {f"{m}_accuracy@{k}": learnt / 2 for m in ("cell", "puzzle") for k in cells}
                    binned = [(f"{name}/t", b, value) for name, value in metrics.items() for b in BINS]
                    long = [*((name, -1, value) for name, value in scalars.items()), *binned]
                    part = pd.DataFrame(long, columns=["metric", "bin", "value"])
                    part["value"] += 0.01 * noise.normal(size=len(part))
                    part = part.assign(row=f"{group}{dial}{seed}", group=group, seed=seed, attention=dial)
                    part = part.assign(step=100 * at, presentations=6400 * at, split="validation")
                    parts += [part, part.assign(split="test")] if at == evaluations - 1 > 0 else [part]
    return pd.concat(parts, ignore_index=True)


def lines(ax, kind):
    return [line for line in ax.lines if line.get_gid() == kind]


def caption(figure):
    return " ".join(next(text for text in figure.texts if text.get_gid() == "caption").get_text().split())


def test_learning_curves_hold_a_line_and_a_band_for_each_dial_value():
    figure = plotting.learning_curves(sweep_table(), "attention")
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "jump loss (nats per cell)",
        "jump accuracy (fraction)",
        "holding loss (nats per cell)",
    ]
    for ax in figure.axes:
        assert ax.get_xlabel() == "boards seen"
        assert len(lines(ax, "mean")) == 3 and len(ax.collections) == 3 and len(lines(ax, "untrained")) == 1
        assert all(len(line.get_xdata()) == 4 for line in lines(ax, "mean"))
    assert len(lines(figure.axes[2], "oracle")) == 1
    key = figure.legends[0]
    assert "attention" in key.get_title().get_text()
    assert [text.get_text() for text in key.get_texts()] == ["0", "0.5", "1"]
    assert "validation boards" in caption(figure) and "3 seeds" in caption(figure) and "95 % t" in caption(figure)


def test_a_curve_is_the_mean_over_seeds():
    table = sweep_table()
    line = lines(plotting.learning_curves(table, "attention").axes[0], "mean")[1]
    rows = table[(table["metric"] == "jump_loss") & (table["attention"] == 0.5) & (table["split"] == "validation")]
    np.testing.assert_allclose(line.get_ydata(), rows.groupby("step")["value"].mean())


def test_by_t_shows_floors_and_ceilings_by_bin():
    figure = plotting.by_t(sweep_table(), "attention")
    accuracy, holding, separation = figure.axes
    for ax in figure.axes:
        assert "noise level t" in ax.get_xlabel() and len(lines(ax, "mean")) == 3
        np.testing.assert_allclose(lines(ax, "untrained")[0].get_xdata(), (BINS + 0.5) / 10)
    assert not lines(accuracy, "oracle")
    np.testing.assert_allclose(lines(holding, "oracle")[0].get_ydata(), 0.14, atol=0.05)
    np.testing.assert_allclose(lines(separation, "oracle")[0].get_ydata(), 0.84, atol=0.05)
    assert "test boards, step 300" in caption(figure)


def test_against_coupling_shows_every_seed_the_interval_and_the_zero_of_benefit():
    figure = plotting.against_coupling(sweep_table(), "attention")
    assert len(figure.axes) == 10
    axes = {ax.get_ylabel(): ax for ax in figure.axes}
    for ax in axes.values():
        assert ax.get_xlabel() == "attention (dimensionless)"
        assert all(len(line.get_xdata()) == 9 for line in lines(ax, "seed"))
    benefit = axes["benefit of coupling (nats per cell)"]
    assert len(lines(benefit, "mean")) == 2 and len(lines(benefit, "zero")) == 1
    assert all(line.get_ydata()[0] == 0 for line in lines(benefit, "mean"))
    assert len(lines(axes["boards solved (fraction)"], "mean")) == 2
    assert lines(axes["jump loss (nats per cell)"], "untrained")[0].get_ydata()[0] == pytest.approx(2.2, abs=0.02)


def test_a_control_is_drawn_at_each_value_of_the_dial_in_the_colour_of_its_metric():
    table = sweep_table()
    rows = table[table["metric"] == "knockout_zero_jump"]
    control = rows.assign(metric="knockout_random_jump", value=rows["attention"] ** 2)
    figure = plotting.against_coupling(pd.concat([table, control]), "attention")
    ax = {ax.get_ylabel(): ax for ax in figure.axes}["knock-out zero (nats per cell)"]
    (line,) = lines(ax, "oracle")
    assert line.get_ydata() == pytest.approx([0, 0.25, 1]) and line.get_color() == lines(ax, "mean")[0].get_color()


def test_rounding_errors_are_no_scale_and_a_benefit_has_no_untrained_line():
    table = sweep_table(evaluations=2)
    solved = table["metric"].str.startswith("puzzle")
    table.loc[solved, "value"] = 1e-17 * table.loc[solved, "seed"]
    benefits = table[table["metric"] == "jump_loss"].assign(metric="benefit_jump")
    axes = plotting.against_coupling(pd.concat([table, benefits]), "attention").axes
    axes = {ax.get_ylabel(): ax for ax in axes}
    assert np.ptp(axes["boards solved (fraction)"].get_ylim()) == pytest.approx(0.1)
    assert not lines(axes["benefit of coupling (nats per cell)"], "untrained")


def test_panels_without_a_metric_are_left_out():
    table = sweep_table()
    without = table[~table["metric"].str.contains("knockout|cka|@")]
    assert len(plotting.against_coupling(without, "attention").axes) == 5
    with pytest.raises(InputError, match="nothing to draw"):
        plotting.by_t(table[table["bin"] == -1], "attention")


@pytest.mark.parametrize("draw", [plotting.learning_curves, plotting.against_coupling, plotting.by_t])
def test_an_unknown_dial_is_refused(draw):
    with pytest.raises(InputError, match="no dial named 'gate'"):
        draw(sweep_table(evaluations=1), "gate")


def test_groups_get_rows_of_their_own_or_a_colour():
    table = sweep_table(groups=("singles", "search"))
    figure = plotting.learning_curves(table, "attention")
    assert len(figure.axes) == 6 and figure.axes[3].get_title(loc="left") == "search"
    named = [text.get_text() for text in plotting.against_coupling(table, "attention").legends[-1].get_texts()]
    assert named[:2] == ["singles", "search"]


def test_thirty_dial_values_get_a_colour_bar_with_few_ticks():
    figure = plotting.learning_curves(sweep_table(dials=np.linspace(0, 3, 30), seeds=2, evaluations=2), "attention")
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "attention (dimensionless)" and len(bar.get_yticks()) <= 8
    assert len(lines(figure.axes[0], "mean")) == 30 and not figure.axes[0].collections
    assert "no interval" in caption(figure)


def test_a_dial_of_many_magnitudes_gets_a_logarithmic_axis():
    figure = plotting.against_coupling(sweep_table(dials=(0.0, 0.01, 1.0), evaluations=2), "attention")
    assert {ax.get_xscale() for ax in figure.axes} == {"symlog"}


def dead(table):
    return table.assign(value=table["value"].where((table["step"] == 0) | (table["attention"] > 0)))


@pytest.mark.parametrize(
    "table",
    [
        sweep_table(dials=(0.0,), evaluations=2),
        sweep_table(dials=(1.0, 2.0), seeds=1, evaluations=2),
        sweep_table(dials=(0.0,), seeds=1, evaluations=1, cells=()),
        dead(sweep_table(evaluations=2)),
        sweep_table(seeds=1, evaluations=2).assign(value=np.nan),
        sweep_table(evaluations=3).query("step > 0"),
    ],
    ids=["one dial value", "one seed, no K=0", "one evaluation", "dead replicas", "all dead", "no untrained"],
)
def test_poor_tables_still_become_whole_files(table, tmp_path):
    paths = plotting.save_all(table, "attention", tmp_path / "figures")
    assert [path.name for path in paths] == ["learning_curves.png", "against_coupling.png", "by_t.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in paths)
    assert len(list((tmp_path / "figures").iterdir())) == 3


@pytest.mark.parametrize("draw", [plotting.learning_curves, plotting.against_coupling, plotting.by_t])
def test_no_text_of_an_axes_touches_another_axes(draw):
    figure = draw(sweep_table(groups=("singles", "search"), evaluations=2), "attention")
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    for one in range(len(boxes)):
        for other in range(one):
            assert not boxes[one].overlaps(boxes[other])
    header = min(text.get_window_extent().y0 for text in figure.texts if text.get_gid() == "caption")
    assert all(box.y1 <= header + 1 for box in boxes)


def test_neither_analysis_nor_plotting_needs_jax():
    script = "import sys, gidd_jax.plotting_samplers, gidd_jax.analysis; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def sampler_table():
    """The last evaluation of a sweep, with three samplers."""
    table = sweep_table(evaluations=2)
    kinds = {"puzzle_accuracy": 0.5, "cell_accuracy": 0.9, "violations": 3.0, "model_calls": 81.0}
    some = table[(table["metric"] == "jump_loss") & (table["step"] == 100)]
    own = [
        some.assign(metric=f"{kind}@{name}", value=value * (1 + some["attention"]) / (1 + i))
        for kind, value in kinds.items()
        for i, name in enumerate(("ancestral", "resample", "resample+oracle_holding"))
    ]
    return pd.concat([table, *own], ignore_index=True)


@pytest.mark.slow
def test_samplers_have_a_figure_of_their_own(tmp_path):
    table = sampler_table()
    figure = plotting_samplers.samplers(table, "attention")
    assert [ax.get_xlabel() for ax in figure.axes] == [
        *("boards solved (fraction)", "cells right (fraction)", "violations (per board)", "model calls (per board)"),
    ]
    assert "test boards, step 100; 3 seeds; bars" in figure.get_suptitle()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["ancestral", "resample", "resample+oracle_holding"]
    drawn = [line.get_xdata() for line in lines(figure.axes[0], "mean")]
    np.testing.assert_allclose(drawn, 0.5 * np.outer([1, 1.5, 2], [1, 1 / 2, 1 / 3]))
    without = plotting.against_coupling(table, "attention")
    assert not any("resample" in text.get_text() for ax in without.axes if ax.legend_ for text in ax.legend_.texts)
    paths = plotting_samplers.save_all(table, "attention", tmp_path)
    assert [path.name for path in paths][-1] == "samplers.png" and paths[-1].stat().st_size > 10_000
    assert len(plotting_samplers.save_all(sweep_table(evaluations=2), "attention", tmp_path)) == 3
    with pytest.raises(InputError, match="nothing to draw"):
        plotting_samplers.samplers(sweep_table(evaluations=2), "attention")
