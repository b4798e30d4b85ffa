"""The analysis of transitions step by step: which K are fitted, which average, which bounds, and what decides."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gidd_jax import analysis
from gidd_jax.analysis import Interval, oscillators, transitions

K = np.array([0.6, 0.8, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6])


def rise(points, critical=1.0, exponent=0.5):
    """u^exponent, the law that is fitted, without its correction."""
    return np.maximum(1 - (critical / points) ** 0.75, 0) ** exponent


def seeds_apart(spread):
    """+-spread of the mean over four seeds: their standard deviation is spread * 2/sqrt(3)."""
    return 1 + np.array([-1.0, 1.0, -1.0, 1.0])[:, None] * np.asarray(spread)


def test_susceptibility_is_unbiased_by_the_number_of_seeds():
    assert analysis.susceptibility([0.0, 1.0], 6) == pytest.approx(3.0)
    np.testing.assert_allclose(analysis.susceptibility([[0, 1], [3, 1], [0, 4]], 2), [6.0, 6.0])


def test_cumulants_cross_where_the_larger_rises_for_good():
    points = np.array([0.0, 1.0, 2.0, 3.0])

    def moments(U):
        """r^2 = 1 and the r^4 that makes U, alike in all seeds."""
        return np.ones((3, 4)), np.tile(3 * (1 - np.asarray(U)), (3, 1))

    flat = moments([0.5] * 4)
    assert analysis.binder_crossing(points, flat, moments([0.4, 0.4, 0.6, 0.6])).mean == pytest.approx(1.5)
    assert analysis.binder_crossing(points, flat, moments([0.6, 0.4, 0.4, 0.6])).mean == pytest.approx(2.5)
    assert np.isnan(analysis.binder_crossing(points, flat, moments([0.4, 0.6, 0.6, 0.4])).mean)
    assert np.isnan(analysis.binder_crossing(points, flat, moments([0.6] * 4)).mean)


@pytest.mark.parametrize("sharper", [1, -1])
def test_only_a_rise_that_sharpens_speaks_for_a_transition(sharper):
    """Steepness N^0.3 or N^-0.3: p counts one side alone."""
    rng, points, curves = np.random.default_rng(0), np.linspace(0, 1, 5), {}
    for N in (10, 40, 160):
        curves[N] = np.exp(N ** (0.3 * sharper) * points) * (1 + 0.002 * rng.normal(size=(8, 5)))
    found = analysis.sharpening(points, curves)
    assert found.exponent.mean == pytest.approx(0.3 * sharper, abs=0.05)
    assert found.p < 1e-6 if sharper == 1 else found.p > 1 - 1e-6
    assert (analysis.verdict(points, curves).order == "none") == (sharper == -1)


def test_a_mean_that_is_lost_in_its_error_makes_no_slope():
    """Two standard errors stand for it: from there, not from next to nothing, ln r rises."""
    r = np.array([[1e-9, 1.0, 1.5], [0.02, 1.0, 1.5], [-0.02 + 2e-9, 1.0, 1.5]])
    error = np.std([0, 0.02, -0.02], ddof=1) / np.sqrt(3)
    slope = (0.0 - np.log(2 * error)) / 0.5
    found = analysis.sharpening([0.0, 0.5, 1.0], {N: r for N in (10, 20, 40)})
    np.testing.assert_allclose(found.steepness, slope, rtol=1e-6)


def test_what_is_fitted_begins_beyond_the_last_k_that_is_not_clear():
    """A standard deviation of a quarter of the mean is the bound: .23 * 2/sqrt(3) = .266 is above, .20 below."""
    spread = np.array([0.5, 0.5, 0.5, 0.1, 0.23, 0.2, 0.1, 0.1, 0.1, 0.1])
    points = np.append(K, 1.7)
    law = analysis.power_law(points, seeds_apart(spread) * np.maximum(rise(points), 0.05))
    np.testing.assert_array_equal(law.used, points[5:])
    assert analysis.power_law(points[:-1], (seeds_apart(spread) * np.maximum(rise(points), 0.05))[:, :-1]) is None


def test_what_lies_before_the_steepest_rise_is_no_order():
    """Seeds that agree on a level below the transition, as those that share their disorder do."""
    r = seeds_apart(np.full(9, 0.01)) * np.maximum(rise(K), 0.12)
    law = analysis.power_law(K, r)
    np.testing.assert_array_equal(law.used, K[3:])
    assert law.critical.mean == pytest.approx(1, abs=0.01) and law.exponent.mean == pytest.approx(0.5, abs=0.03)


def test_seeds_with_a_critical_point_of_their_own_do_not_bend_the_exponent():
    """r^2 is nearly linear in K - K_c, so that its mean over seeds is that of the mean K_c; the mean of r is not."""
    own = 1 + 0.06 * np.random.default_rng(0).standard_normal((40, 1))
    own -= own.mean() - 1
    points = np.linspace(1.08, 1.6, 9)
    law = analysis.power_law(points, rise(points[None], own))
    assert law.critical.mean == pytest.approx(1, abs=0.003)
    assert law.exponent.mean == pytest.approx(0.5, abs=0.006)


def test_points_count_by_what_their_seeds_say_of_them():
    """Twelve good points with a true exponent and one, far apart over seeds, that would bend it."""
    points = np.linspace(1.1, 1.8, 12)
    r, spread = rise(points), np.full(12, 0.002)
    r[4], spread[4] = 1.08 * r[4], 0.2
    law = analysis.power_law(points, seeds_apart(spread) * r)
    assert law.critical.mean == pytest.approx(1, abs=0.01) and law.exponent.mean == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("low", "mean", "high", "order"),
    [
        (0.26, 0.5, 0.7, "continuous"),
        (0.24, 0.5, 0.7, "undecided"),
        (-0.1, 0.1, 0.24, "discontinuous"),
        (-0.1, 0.1, 0.26, "undecided"),
        (None, None, None, "undecided"),
    ],
)
def test_the_interval_of_the_exponent_decides_the_order(monkeypatch, low, mean, high, order):
    asked = []
    law = transitions.PowerLaw(Interval(1, 0.9, 1.1, 9), Interval(mean, low, high, 9), K) if low else None
    monkeypatch.setattr(transitions, "power_law", lambda K, r, seed: asked.append(len(r)) or law)
    curves = {N: np.exp(N**0.5 * K)[None] * seeds_apart(np.full(9, 0.01)) for N in (4, 36)}
    curves[16] = np.exp(4 * K)[None] * np.tile(seeds_apart(np.full(9, 0.01)), (2, 1))
    assert transitions.verdict(K, curves).order == order
    assert asked == [4]  # of the largest size


def test_few_seeds_widen_an_interval_as_students_distribution_does():
    """Percentiles of a mean's resamples lie at the normal quantile of the spread by n; Student's t asks n - 1."""
    values = np.random.default_rng(0).normal(size=7)
    half = stats.norm.ppf(0.975) * values.std() / np.sqrt(7)
    found = transitions._widened(Interval(values.mean(), values.mean() - half, values.mean() + half, 400), 7)
    expected = stats.t.interval(0.95, 6, values.mean(), values.std(ddof=1) / np.sqrt(7))
    np.testing.assert_allclose((found.low, found.high), expected)


def test_areas_are_down_less_up_with_percentiles_of_resampled_seeds():
    points, rng = np.array([0.0, 1.0, 3.0]), np.random.default_rng(1)
    up, down = rng.random((30, 3)), 1 + rng.random((30, 3))
    gap = down - up
    areas = (gap[:, 0] + gap[:, 1]) / 2 + (gap[:, 1] + gap[:, 2])
    found = analysis.loop_area(points, up, down)
    assert found.mean == pytest.approx(areas.mean())
    # 400 resamples place a percentile to some 5 % of the width.
    half = 1.96 * areas.std() / np.sqrt(30)
    assert (found.mean - found.low, found.high - found.mean) == pytest.approx((half, half), rel=0.15)


def test_seeds_that_died_at_some_k_are_left_out_whole():
    r = seeds_apart(np.full(9, 0.01)) * np.maximum(rise(K), 0.12)
    dead = np.concatenate([r, [[*K[:-1], np.nan]]])
    one, other = analysis.power_law(K, r), analysis.power_law(K, dead)
    assert (one.critical, one.exponent) == (other.critical, other.exponent)


# ---------------------------------------------------------------- sigmoids, comparisons


def test_a_midpoint_outside_what_was_seen_is_refused():
    t = np.arange(20.0)
    for middle, ok in ((10, True), (18, True), (21, False), (-2, False)):
        assert analysis.fit_sigmoid(t, 1 / (1 + np.exp(-(t - middle) / 2))).ok == ok


def test_a_midpoint_is_told_in_the_units_of_t_wherever_they_start():
    t = np.linspace(100, 138, 20)
    y = 0.2 + 0.5 / (1 + np.exp(-(t - 117.3) / 4))
    fit = analysis.fit_sigmoid(t, y)
    np.testing.assert_allclose(fit[:4], (0.2, 0.7, 117.3, 4), rtol=1e-6)
    curves = y + np.array([[-0.01], [0.0], [0.01]])
    np.testing.assert_allclose(
        analysis.bootstrap_midpoint(t, curves, np.array([[0, 1, 2], [1, 1, 1]])), 117.3, rtol=1e-6
    )


def test_a_midpoint_is_of_the_median_with_an_interval_unless_one_resample_in_twenty_is_refused():
    t = np.arange(20.0)
    y = 1 / (1 + np.exp(-(t - np.array([[8.0], [8.0], [12.0]]))))
    idx = np.array([[0, 1, 2]] * 30 + [[0, 0, 2]] * 30 + [[1, 2, 2]] * 40)
    found = analysis.midpoint(t, y, idx)
    assert (found.step, found.low, found.high, found.refused) == pytest.approx((8, 8, 12, 0), abs=1e-6)
    flat = np.concatenate([y, np.zeros((2, 20))])
    for refused, told in ((4, True), (5, False)):
        asked = np.concatenate([np.tile([0, 1, 1, 0, 1], (100 - refused, 1)), np.tile([3, 4, 3, 4, 3], (refused, 1))])
        found = analysis.midpoint(t, flat, asked)
        assert found.refused == refused / 100 and np.isfinite(found.low) == told


def test_equivalence_is_two_sided_with_the_interval_that_decides_it():
    """Two one-sided tests at 5 % are the 90 % interval within the margin."""
    rng = np.random.default_rng(0)
    for shift in (-0.5, -0.08, 0.0, 0.08, 0.5):
        gap = shift + 0.05 * rng.normal(size=9)
        found = analysis.equivalence(gap, np.zeros(9), 0.1)
        low, high = stats.t.interval(0.9, 8, gap.mean(), stats.sem(gap))
        np.testing.assert_allclose((found.difference.low, found.difference.high), (low, high))
        assert found.equivalent == (-0.1 < low and high < 0.1) == (found.p <= 0.05)
        one_sided = [
            stats.ttest_1samp(gap, m, alternative=side).pvalue for m, side in ((-0.1, "greater"), (0.1, "less"))
        ]
        assert found.p == pytest.approx(max(one_sided))


def test_seeds_flipped_at_random_count_the_one_that_was_seen():
    """Above 2^13 flips: (1 + hits) / (1 + draws), never 0."""
    gap = np.full(20, 1.0)
    assert analysis.permutation_test(gap, 0 * gap, draws=99) == pytest.approx(1 / 100)


# ---------------------------------------------------------------- from a table of a sweep


def simulated(scales=(1.0,), seeds=12, sizes=(10, 40, 160)):
    """A transition at K = 1 at the last step of a sweep, and at an earlier one none."""
    rng, lines = np.random.default_rng(0), []
    for (g, N), scale, seed, at, step in itertools.product(enumerate(sizes), scales, range(seeds), K, (5, 9)):
        value = np.sqrt(rise(at) ** 2 * (step == 9) + 0.3 * rng.exponential() / N)
        own = dict(group=f"g{g}", row=f"{seed}{at}{scale}", seed=seed, coupling=at, scale=scale, step=step, bin=-1)
        own |= dict(split="stationary", presentations=step)
        lines += [own | dict(metric=m, value=v) for m, v in (("order_parameter", value), ("oscillators", N))]
    return pd.DataFrame(lines)


def test_curves_hold_the_seeds_that_lived_at_every_coupling_at_the_last_step():
    table = simulated()
    gone = (table["seed"] == 2) & (table["coupling"] == K[4]) & (table["metric"] == "order_parameter")
    named = oscillators.systems(table[~(gone & (table["group"] == "g1"))], "coupling")
    assert {name: N for name, (N, _) in named.items()} == {"N = 10": 10, "N = 40": 40, "N = 160": 160}
    points, r = oscillators.curve(named["N = 40"][1], "coupling", "order_parameter")
    np.testing.assert_array_equal(points, K)
    last = table[(table["group"] == "g1") & (table["step"] == 9) & (table["metric"] == "order_parameter")]
    expected = last.pivot(index="seed", columns="coupling", values="value").drop(index=2)
    np.testing.assert_array_equal(r, expected)


def test_a_verdict_takes_three_sizes_three_seeds_and_no_other_dial():
    found = oscillators.found_transition(simulated(), "coupling")
    assert found.order == "continuous" and found.law.critical.mean == pytest.approx(1, abs=0.1)
    assert oscillators.found_transition(simulated(scales=(1.0, 2.0)), "coupling") is None
    assert oscillators.found_transition(simulated(sizes=(10, 40)), "coupling") is None
    assert oscillators.found_transition(simulated(seeds=2), "coupling") is None
    table = simulated()
    fewer = table[~((table["group"] == "g2") & (table["coupling"] == K[0]))]
    assert oscillators.found_transition(fewer, "coupling") is None
