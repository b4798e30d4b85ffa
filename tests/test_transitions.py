"""Transition statistics: stored fits, known answers, few alarms where there is nothing, and one that is known."""

import pathlib

import numpy as np
import pytest
from scipy import stats

from experiments import transition_rates
from gidd_jax import analysis, kuramoto
from gidd_jax.errors import InputError

GOLDEN = pathlib.Path(__file__).parent / "golden"
K = np.linspace(0.5, 1.5, 11)


def load(name):
    with np.load(GOLDEN / f"sync_{name}.npz") as stored:
        return {key.split("_", 1)[1]: stored[key] for key in stored.files}


@pytest.mark.parametrize("curve", [0, 1])
def test_stored_sigmoids(curve):
    g = load("sigmoid")
    clean = analysis.fit_sigmoid(g["t"], g["clean"][curve])
    np.testing.assert_allclose(clean[:4], g["truth"][curve], atol=1e-3)
    noisy = analysis.fit_sigmoid(g["t"], g["median"][curve])
    np.testing.assert_allclose(noisy[:4], g["fit_lo_hi_tau_w"][curve], atol=0.05)
    falling = analysis.fit_sigmoid(g["t"], -3 * g["clean"][curve])
    np.testing.assert_allclose(falling[:4], g["truth"][curve] * [-3, -3, 1, 1], atol=1e-3)
    midpoints = analysis.bootstrap_midpoint(g["t"], g["seeds"][curve], g["boot_idx"])
    np.testing.assert_allclose(midpoints, g["boot_tau"][curve], atol=0.05)
    np.testing.assert_allclose(np.percentile(midpoints, [2.5, 97.5]), g["boot_ci95"][curve], atol=0.2)


def test_curves_without_a_sigmoid_are_refused():
    t, rng = np.linspace(0, 10, 21), np.random.default_rng(0)
    for flat in (np.full(21, 0.3), np.where(t == 5, np.nan, t), 0.1 * t, np.zeros(21)):
        fit = analysis.fit_sigmoid(t, flat)
        assert not fit.ok and np.isnan(fit[:4]).all()
    refused = [not analysis.fit_sigmoid(t, y).ok for y in rng.normal(size=(300, 21))]
    assert np.mean(refused) > 0.98
    seen = [analysis.fit_sigmoid(t, 1 / (1 + np.exp(5 - t)) + y).ok for y in 0.1 * rng.normal(size=(100, 21))]
    assert np.mean(seen) > 0.98
    with pytest.raises(InputError, match="rising t"):
        analysis.fit_sigmoid(t[::-1], t)
    with pytest.raises(InputError, match="one curve"):
        analysis.fit_sigmoid(t, np.zeros((2, 21)))


def test_stored_modes():
    g = load("modes")
    modes = analysis.mode_energies(g["V"])
    np.testing.assert_allclose(modes.eigenvalues, g["eig0"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(modes.keep, g["keep"])
    np.testing.assert_allclose(modes.energies, g["lambda"], rtol=1e-9)
    for found, name in zip(analysis.mode_bands(modes, int(g["band"])), ("lead", "trail", "Gint"), strict=True):
        np.testing.assert_allclose(found, g[name], rtol=1e-9)


def test_modes_that_are_not_there_are_not_kept():
    V = np.random.default_rng(0).normal(size=(3, 8, 40))
    V[0, 4:] = V[0, :4]
    modes = analysis.mode_energies(V)
    assert modes.keep.sum() == 4 and np.isnan(modes.energies[:, ~modes.keep]).all()
    np.testing.assert_allclose(modes.energies[0, modes.keep], 1)
    assert not analysis.mode_energies(np.zeros((2, 3, 5))).keep.any()


def test_ranks():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(128, 512))
    assert analysis.effective_rank(Z) == pytest.approx(84, abs=1.5)
    assert analysis.effective_rank(np.eye(5)) == pytest.approx(5)
    line = np.outer(np.arange(6.0), [1, 2]) + 50
    assert analysis.effective_rank(line, centered=True) == pytest.approx(1) == pytest.approx(analysis.rankme(line))
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert analysis.rankme(square + 7) == pytest.approx(2)
    assert analysis.rankme(np.ones((4, 3))) == 0 == analysis.effective_rank(np.zeros((4, 3)))
    with pytest.raises(InputError, match="NaN"):
        analysis.rankme(np.full((2, 2), np.nan))


def test_moments_of_known_densities():
    rng = np.random.default_rng(0)
    free = np.sqrt(rng.exponential(size=400_000))
    assert analysis.binder_cumulant(free**2, free**4) == pytest.approx(1 / 3, abs=0.01)
    assert analysis.binder_cumulant(np.full(9, 0.3), np.full(9, 0.09)) == pytest.approx(2 / 3)
    assert analysis.susceptibility(rng.normal(size=100_000), 50) == pytest.approx(50, rel=0.03)
    assert analysis.bimodality(rng.uniform(size=100_000)) == pytest.approx(5 / 9, abs=0.01)
    assert analysis.bimodality(np.array([0.1, 0.9] * 9)) == pytest.approx(1)


def test_crossings_are_where_lines_cross():
    np.testing.assert_allclose(analysis.crossings([0, 1, 2, 3], [0, 0, 0, 0], [-1, 1, 1, -3]), [0.5, 2.25])
    assert len(analysis.crossings([0, 1], [0, 0], [1, 2])) == 0


def test_free_phases_of_finite_number():
    known = {2: 0.636620, 4: 0.449773, 8: 0.315832, 16: 0.222433, 32: 0.156972, 64: 0.110887, 256: 0.055403}
    for N, value in known.items():
        assert analysis.incoherent_r(N) == pytest.approx(value, abs=2e-6)
    for ratio, value in {0.25: 1.48245, 0.5: 2.48430, 0.75: 5.57611, 0.9: 14.9688}.items():
        assert analysis.subcritical_square(ratio * np.sqrt(8 / np.pi), "gaussian") == pytest.approx(value, rel=1e-5)
    assert analysis.subcritical_square(1.5, "lorentzian") == 4
    with pytest.raises(InputError, match="below K_c"):
        analysis.subcritical_square(2.5, "lorentzian")


def test_paired_comparisons():
    rng = np.random.default_rng(0)
    first, noise = rng.normal(size=12), rng.normal(size=12)
    assert analysis.permutation_test(first + 1, first) == 2 / 2**12
    assert analysis.permutation_test(first, first + noise) == pytest.approx(
        stats.permutation_test((-noise, 0 * noise), lambda a, b: np.mean(a - b), permutation_type="samples").pvalue
    )
    many = rng.normal(size=200)
    assert analysis.permutation_test(many + 1, 0 * many) == pytest.approx(1 / 10_001)
    null = [analysis.permutation_test(*rng.normal(size=(2, 10))) < 0.05 for _ in range(300)]
    assert 0.01 < np.mean(null) < 0.1
    interval = analysis.paired_bootstrap(first + 0.3, first)
    assert interval.low == pytest.approx(0.3) == pytest.approx(interval.high)
    with pytest.raises(InputError, match="2 pairs"):
        analysis.permutation_test([1.0, np.nan], [0.0, 1.0])


def test_holm_steps_down():
    np.testing.assert_allclose(analysis.holm([0.01, 0.04, 0.03, 0.5]), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(analysis.holm([0.6, 0.9]), [1, 1])


def test_equivalence_is_shown_not_assumed():
    rng = np.random.default_rng(0)
    first = rng.normal(size=40)
    near = analysis.equivalence(first, first + 0.01 * rng.normal(size=40), 0.1)
    assert near.equivalent and near.p < 1e-6 and -0.1 < near.difference.low < near.difference.high < 0.1
    few = analysis.equivalence(*rng.normal(size=(2, 4)), 0.1)
    assert not few.equivalent
    at_margin = [analysis.equivalence(0.5 + rng.normal(size=20), np.zeros(20), 0.5).equivalent for _ in range(400)]
    assert 0.02 < np.mean(at_margin) < 0.09
    with pytest.raises(InputError, match="above 0"):
        analysis.equivalence(first, first, 0.0)


def test_take_off_times():
    t = np.arange(100.0)
    curves = np.stack([1 / (1 + np.exp((30 - t) / 2)), 2 - 1 / (1 + np.exp((60 - t) / 2)), np.sin(t)])
    found = analysis.take_off_times(t, curves)
    np.testing.assert_allclose(found[:2], [30, 60], atol=0.01)
    assert np.isnan(found[2])
    # A curve that rises within its first eighth shows no first level; told it, the crossing is where it is.
    early = 1 / (1 + np.exp((5 - t) / 0.5))
    assert analysis.take_off_times(t, early)[0] > 5.5
    np.testing.assert_allclose(analysis.take_off_times(t, early, first=0.0), 5, atol=0.01)


def test_change_points():
    rng = np.random.default_rng(0)
    levels = np.repeat([0.0, 3.0, 1.0], [40, 30, 50])
    found = analysis.change_points(levels + 0.5 * rng.normal(size=120))
    np.testing.assert_allclose(found, [40, 70], atol=2)
    alarms = [bool(analysis.change_points(rng.normal(size=40), seed=i, draws=199)) for i in range(100)]
    assert np.mean(alarms) <= 0.1


@pytest.mark.parametrize("surrogate", transition_rates.SURROGATES)
def test_few_alarms_where_there_is_no_transition(surrogate):
    (row,) = transition_rates.rates(transition_rates.alarms(surrogate, 100)).to_dict("records")
    assert row["repetitions"] == 100 and row["count"] <= 10
    assert row["low"] < row["count"] / 100 < row["high"] or row["count"] == row["low"] == 0


def mean_field(rng, N, exponent, seeds=48):
    """r of a mean-field transition at K = 1: each seed's own K_c, a floor of 1 / sqrt N, and the scaling of size."""
    own = 1 + 0.6 * N**-0.5 * rng.normal(size=(seeds, 1))
    points = np.array([0.7, 0.8, 0.9, 1.0, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5])
    rise = np.where(points > own, np.maximum(1 - own / points, 0) ** (2 * exponent), 0)
    return points, np.sqrt(rise + rng.exponential(size=(seeds, 11)) / N)


@pytest.mark.parametrize(("exponent", "order"), [(0.5, "continuous"), (0.08, "discontinuous")])
def test_a_transition_that_is_there_is_found_with_its_order(exponent, order):
    rng = np.random.default_rng(1)
    curves = {N: mean_field(rng, N, exponent)[1] for N in (50, 200, 800)}
    points = mean_field(rng, 50, exponent)[0]
    found = analysis.verdict(points, curves)
    assert found.order == order and found.sharpening.p < 1e-3
    assert found.law.exponent.low <= exponent <= found.law.exponent.high
    if order == "continuous":
        assert found.law.critical.low <= 1 <= found.law.critical.high
        assert found.law.critical.high - found.law.critical.low < 0.15


@pytest.mark.parametrize("distribution", ["gaussian", "lorentzian", "student_t"])
@pytest.mark.parametrize(("low", "high"), [(1.04, 1.3), (1.06, 1.5), (1.1, 1.8)])
def test_the_exponent_of_infinitely_many_oscillators(distribution, low, high):
    """What the form of the fit alone does to beta and K_c: nothing is drawn, the curves are theory's."""
    truth = float(kuramoto.critical_coupling(distribution))
    points = truth * np.linspace(low, high, 9)
    theory = np.asarray(kuramoto.stationary_r(points, distribution), float)
    seeds = theory * (1 + 0.01 * np.array([-1.0, 0.0, 1.0]))[:, None]
    law = analysis.power_law(points, seeds)
    assert law.exponent.mean == pytest.approx(0.5, abs=0.025)
    assert law.critical.mean == pytest.approx(truth, rel=0.005)


def test_a_collapse_recovers_the_numbers_a_scaling_curve_was_made_with():
    rng = np.random.default_rng(0)
    points = np.linspace(1.6, 2.4, 9)
    curves = {}
    for N in (50, 100, 200, 400):
        x = (points / 2 - 1) * N**0.4
        curves[N] = N**-0.2 * np.exp(0.6 * x - 0.08 * x**2) * np.exp(0.05 * rng.normal(size=(20, 9)))
    found = analysis.collapse(points, curves, 2.05)
    for interval, truth in zip(found[:3], (2.0, 0.4, 0.2), strict=True):
        assert interval.mean == pytest.approx(truth, abs=0.03)
    assert 0.3 < found.chi2 < 2
    with pytest.raises(InputError, match="3 sizes"):
        analysis.collapse(points, {50: curves[50]}, 2.0)


def test_areas_of_loops():
    points = np.linspace(0, 2, 21)
    up = np.tile(np.where(points > 1.5, 1.0, 0.0), (5, 1))
    down = np.tile(np.where(points > 1.0, 1.0, 0.0), (5, 1))
    assert analysis.loop_area(points, up, down).mean == pytest.approx(0.5)
    area = analysis.loop_area(points, *(up + 0.1 * np.random.default_rng(0).normal(size=(2, 5, 21))))
    assert area.low < 0 < area.high


def test_binder_crossing_lies_between_the_curves():
    rng = np.random.default_rng(0)
    small, large = (mean_field(rng, N, 0.5)[1] for N in (50, 800))
    found = analysis.binder_crossing(mean_field(rng, 50, 0.5)[0], (small**2, small**4), (large**2, large**4))
    assert 0.75 < found.low <= found.mean <= found.high < 1.15
    assert found.mean == pytest.approx(1, abs=0.1)


def test_what_cannot_be_compared_is_refused():
    r = np.ones((4, 11))
    with pytest.raises(InputError, match="3 sizes"):
        analysis.sharpening(K, {10: r, 20: r})
    with pytest.raises(InputError, match="rising K"):
        analysis.power_law(K[::-1], r)
    with pytest.raises(InputError, match="seeds lived"):
        analysis.power_law(K, np.full((4, 11), np.nan))
