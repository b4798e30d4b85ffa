"""The study: moments as a plain loop gathers them, theory beside them, ramps, resume, the command, its figures."""

import jax
import numpy as np
import pandas as pd
import pytest

from gidd_jax import analysis, cli, kuramoto, plotting_transitions, sweep
from gidd_jax.errors import InputError
from gidd_jax.studies import kuramoto as study

CONFIG = study.Config(oscillators=24, steps=60, burn_in=20, log_every=20, eval_every=60)


@pytest.fixture(scope="module")
def swept():
    hypers = sweep.grid(study, seed=range(4), coupling=[0.0, 1.0, 2.0, 3.0])
    sizes = [CONFIG, study.Config(oscillators=48, steps=60, burn_in=20, log_every=20, eval_every=60)]
    return sweep.run(study, [(config, hypers) for config in sizes])


def at_end(table, metric, **where):
    rows = table[(table["metric"] == metric) & (table["split"] == "stationary") & (table["step"] == 60)]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows["value"].to_numpy()


def test_moments_are_those_of_the_path(swept):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(2), 0), 0)
    state = study.init(key, study.Hyper(seed=2, coupling=3.0), CONFIG, {})
    r = kuramoto.simulate(state.theta, state.omega, 3.0, CONFIG.dt, 60, CONFIG.method)[1][21:]
    where = {"seed": 2, "coupling": 3.0, "group": "g0"}
    for metric, expected in {
        "order_parameter": r.mean(),
        "order_parameter_squared": (r**2).mean(),
        "order_parameter_fourth": (r**4).mean(),
        "susceptibility": 24 * r.var(),
        "order_parameter_theory": kuramoto.stationary_r(3.0, "gaussian"),
        "critical_coupling": np.sqrt(8 / np.pi),
        "oscillators": 24,
    }.items():
        (value,) = at_end(swept.table, metric, **where)
        assert value == pytest.approx(float(expected), rel=1e-3), metric


def test_couplings_of_a_seed_share_frequencies_and_first_phases(swept):
    states = sweep.run(study, [(CONFIG, sweep.grid(study, seed=[0, 1], coupling=[0.0, 2.0, 4.0]))]).states.values()
    assert len({tuple(replica.state.omega.tolist()) for replica in states}) == 2 < len(states) == 6
    assert at_end(swept.table, "order_parameter", coupling=3.0).mean() > 0.6
    assert at_end(swept.table, "order_parameter", coupling=0.0).mean() < 0.4


def test_quantile_frequencies_are_the_same_for_every_seed():
    config = study.Config(oscillators=6, steps=2, burn_in=1, frequencies="quantile", distribution="uniform")
    result = sweep.run(study, [(config, sweep.grid(study, seed=[0, 1], scale=2.0))])
    for replica in result.states.values():
        np.testing.assert_allclose(replica.state.omega, 2 * (np.arange(6) * 2 - 5) / 6, atol=1e-6)


def test_a_ramp_visits_its_levels_up_and_down():
    config = study.Config(oscillators=30, steps=240, ramp_levels=3, log_every=60, eval_every=240, dt=0.1)
    hypers = sweep.grid(study, seed=range(3), coupling=4.0, ramp_from=0.0)
    table = sweep.run(study, [(config, hypers)]).table
    ((_, rows),) = analysis.systems(table, "coupling").values()
    K, up, down = analysis.ramp(rows)
    np.testing.assert_allclose(K, [0, 2, 4])
    assert up.shape == down.shape == (3, 3)
    # The top is held twice as long, and on the way down the order of the top is still there.
    assert (up[:, 2] > 0.8).all() and (down[:, 2] > 0.9).all() and (down[:, 1] > up[:, 1]).any()
    figure = plotting_transitions.hysteresis(table, "coupling")
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == 2 and "area" in figure.axes[0].get_title("left")
    assert "r down" in analysis.format_transition(table, "coupling")


@pytest.mark.parametrize(
    ("settings", "hypers", "told"),
    [
        ({"oscillators": 1}, {}, "--oscillators"),
        ({"dt": 0.0}, {}, "--dt"),
        ({"steps": 10, "burn_in": 10}, {}, "--burn-in"),
        ({"steps": 10, "ramp_levels": 3}, {}, "plateaus"),
        ({"ramp_levels": 1}, {}, "--ramp-levels"),
        ({"distribution": "cauchy"}, {}, "--distribution"),
        ({"steps": 4, "ramp_levels": 2}, {"coupling": 1.0, "ramp_from": 2.0}, "ramp goes up"),
        ({"steps": 4}, {"ramp_from": 2.0}, "--ramp-levels"),
        ({}, {"scale": 0.0}, "scale"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, hypers, told):
    with pytest.raises(InputError, match=told):
        sweep.run(study, [(study.Config(**settings), sweep.grid(study, **hypers))])


def test_figures_hold_every_size_theory_and_the_critical_point(swept):
    figure = plotting_transitions.transition(swept.table, "coupling")
    order = figure.axes[0]
    for ax in figure.axes:
        assert [len(line.get_xdata()) for line in ax.lines if line.get_gid() == "mean"] == [4, 4]
        assert "1/time" in ax.get_xlabel() and len(ax.collections) == 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[:2] == ["N = 24", "N = 48"] and any("theory" in name for name in names)
    drawn = order.lines[0].get_ydata()[1]
    assert drawn == pytest.approx(at_end(swept.table, "order_parameter", coupling=1.0, group="g0").mean())
    assert any("4 seeds" in text.get_text() for text in figure.texts)


def test_a_panel_that_takes_more_seeds_says_so(swept):
    figure = plotting_transitions.transition(swept.table[swept.table["seed"] < 2], "coupling")
    assert [[text.get_text() for text in ax.texts] for ax in figure.axes] == [[], ["takes 3 seeds"], ["takes 3 seeds"]]


def test_another_swept_hyper_is_a_system_of_its_own(swept):
    table = pd.concat([swept.table, swept.table.assign(scale=2.0, row="b" + swept.table["row"])])
    assert list(analysis.systems(table, "coupling"))[:2] == ["N = 24, scale 1", "N = 24, scale 2"]
    assert analysis.found_transition(table, "coupling") is None
    with pytest.raises(InputError, match="no dial"):
        analysis.systems(table, "gate")


def test_the_command_sweeps_resumes_and_draws(tmp_path, capsys):
    arguments = ["sweep", "kuramoto", "--seeds", "0", "1", "2", "--coupling", "0", "1", "3", "--oscillators", "20"]
    arguments += ["--steps", "40", "--quiet", "--out", str(tmp_path / "run")]
    assert cli.main(arguments) == 0
    told = capsys.readouterr().out
    assert "K_c = 1.596" in told and "transition: not asked" in told
    image = tmp_path / "run" / "figures" / "transition.png"
    assert image.read_bytes().startswith(b"\x89PNG") and image.stat().st_size > 10_000
    before = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    assert cli.main([*arguments[:7], "2", *arguments[7:]]) == 0
    after = pd.read_parquet(tmp_path / "run" / "metrics.parquet")
    kept = after[after["row"].isin(before["row"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    assert after["row"].nunique() == 12
    assert cli.main([*arguments, "--dt", "0.01"]) == 2
    assert "--dt" in capsys.readouterr().err
