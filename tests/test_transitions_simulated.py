"""From simulated sweeps alone: the critical point, the exponent and the order of the Kuramoto transition."""

import numpy as np
import pytest

from gidd_jax import analysis, kuramoto, sweep
from gidd_jax.studies import kuramoto as study

RATIOS = np.array([0.8, 0.9, 1.0, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.7, 2.0])
REPETITIONS, SEEDS = 10, 24


def simulated(distribution, sizes, seeds, ratios=RATIOS):
    """(K, {N: r [seeds, K]}) of one sweep."""
    K = np.round(float(kuramoto.critical_coupling(distribution)) * ratios, 4)
    common = {"distribution": distribution, "dt": 0.1, "steps": 1200, "log_every": 200, "eval_every": 1200, "width": 16}
    configs = [study.Config(oscillators=N, **common) for N in sizes]
    hypers = sweep.grid(study, seed=range(seeds), coupling=K.tolist())
    table = sweep.run(study, [(config, hypers) for config in configs]).table
    named = analysis.systems(table, "coupling").values()
    curves = {N: analysis.curve(rows, "coupling", "order_parameter") for N, rows in named}
    return next(iter(curves.values()))[0], {N: r for N, (_, r) in curves.items()}


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["gaussian", "lorentzian"])
def test_intervals_hold_the_true_critical_coupling(distribution):
    K, curves = simulated(distribution, [600], REPETITIONS * SEEDS)
    laws = [analysis.power_law(K, r) for r in np.split(curves[600], REPETITIONS)]
    truth = float(kuramoto.critical_coupling(distribution))
    # At the 90 % asked for, 7 of 10 or fewer happen once in fourteen sweeps; these seeds are fixed.
    assert sum(law is not None and law.critical.low <= truth <= law.critical.high for law in laws) >= 8
    pooled = analysis.power_law(K, curves[600])
    assert pooled.exponent.mean == pytest.approx(0.5, abs=0.1)
    assert pooled.critical.mean == pytest.approx(truth, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "order"), [("gaussian", "continuous"), ("uniform", "discontinuous")])
def test_the_order_of_the_transition(distribution, order):
    K, curves = simulated(distribution, [50, 150, 600], 64)
    assert analysis.verdict(K, curves).order == order
