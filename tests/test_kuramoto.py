"""Oscillators: theory to 1e-6 against stored roots, dynamics against stored paths, and what holds whatever the path."""

import csv
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gidd_jax import kuramoto
from gidd_jax.errors import InputError

GOLDEN = pathlib.Path(__file__).parent / "golden"
with (GOLDEN / "kuramoto.csv").open() as _file:
    ROWS = [row | {"distribution": row["distribution"].split("[")[0]} for row in csv.DictReader(_file)]


@pytest.fixture
def golden():
    with np.load(GOLDEN / "sync_kuramoto.npz") as stored:
        return {name.removeprefix("kur_"): stored[name] for name in stored.files}


@pytest.fixture
def crowd(key):
    phases, widths = jax.random.split(key)
    return jax.random.uniform(phases, (3, 12), minval=-3.0, maxval=3.0), jax.random.normal(widths, (12,))


def stored(distribution):
    """(K, scale, df, K_c, r) of the rows of a distribution, but the uniform one's at K_c, printed just below it."""
    for row in ROWS:
        param, K, Kc = float(row["param"]), float(row["K"]), float(row["Kc"])
        if row["distribution"] == distribution and not (distribution == "uniform" and row["K"] == row["Kc"]):
            scale, df = (1.0, param) if distribution == "student_t" else (param, 3.0)
            yield K, scale, df, Kc, float(row["r"])


@pytest.mark.parametrize("distribution", kuramoto.DISTRIBUTIONS)
@pytest.mark.parametrize("wide", [False, True], ids=["float32", "float64"])
def test_stored_roots(distribution, wide):
    K, scale, df, Kc, r = map(np.array, zip(*stored(distribution), strict=True))
    with jax.enable_x64(wide):
        found = kuramoto.stationary_r(K, distribution, scale, df[0])
        critical = kuramoto.critical_coupling(distribution, scale, df[0])
    np.testing.assert_allclose(found, r, atol=5e-10 if wide else 1e-6)
    np.testing.assert_allclose(critical, Kc, rtol=1e-9 if wide else 1e-6)
    assert len(r) >= 6 and found.dtype == (jnp.float64 if wide else jnp.float32)


def test_every_stored_row_is_tested():
    assert sum(len(list(stored(d))) for d in kuramoto.DISTRIBUTIONS) == len(ROWS) - 2 == 96


def test_the_uniform_branch_starts_at_pi_over_four():
    Kc = float(kuramoto.critical_coupling("uniform"))
    below, at, above = kuramoto.stationary_r(np.array([Kc * 0.999, Kc, Kc * 1.0001], np.float32), "uniform")
    assert below == 0 and at == pytest.approx(math.pi / 4) and 1e-3 < above - math.pi / 4 < 2e-3


def test_any_degrees_of_freedom_solve_the_self_consistency():
    x = (np.arange(4000) + 0.5) * np.pi / 4000 - np.pi / 2
    for df in (1.5, 2.0, 10.0):
        K = 1.3 * float(kuramoto.critical_coupling("student_t", 0.7, df))
        r = float(kuramoto.stationary_r(K, "student_t", 0.7, df))
        u = K * r * np.sin(x) / 0.7
        g = (
            special.gamma((df + 1) / 2)
            / special.gamma(df / 2)
            / np.sqrt(df * np.pi)
            * (1 + u**2 / df) ** (-(df + 1) / 2)
        )
        assert K / 0.7 * np.mean(np.cos(x) ** 2 * g) * np.pi == pytest.approx(1, abs=1e-6)
    lorentzian = kuramoto.stationary_r(5.0, "lorentzian", 0.7)
    assert float(kuramoto.stationary_r(5.0, "student_t", 0.7, 1.0)) == pytest.approx(float(lorentzian), abs=1e-6)


def test_strong_coupling_keeps_its_digits():
    K = np.array([10.0, 100.0, 1000.0])
    np.testing.assert_allclose(kuramoto.stationary_r(K, "student_t"), np.sqrt(1 - 3 / K**2), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("distribution", kuramoto.DISTRIBUTIONS)
def test_derivatives_are_those_of_the_root(distribution):
    def r(K, scale):
        return kuramoto.stationary_r(K, distribution, scale)

    with jax.enable_x64(True):
        by_K, by_scale = jax.jit(jax.grad(r, (0, 1)))(2.2, 0.9)
        h = 1e-4
        assert float(by_K) == pytest.approx(float(r(2.2 + h, 0.9) - r(2.2 - h, 0.9)) / (2 * h), rel=1e-4)
        # r depends on K / scale alone.
        assert float(by_scale) == pytest.approx(-2.2 / 0.9 * float(by_K), rel=1e-6)
        second = jax.grad(jax.grad(r))(2.2, 0.9)
        assert float(second) == pytest.approx(float(jax.grad(r)(2.2 + h, 0.9) - by_K) / h, rel=1e-2)
        below = jax.vmap(jax.grad(r), (0, None))(jnp.array([0.0, 0.5, kuramoto.critical_coupling(distribution)]), 1.0)
    np.testing.assert_array_equal(below, 0)


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_stored_paths(golden, method):
    arguments = [golden[name] for name in ("theta0", "omega", "K", "dt")]
    with jax.enable_x64(True):
        theta, r = kuramoto.simulate(*arguments, int(golden["steps"]), method)
        np.testing.assert_allclose(theta, golden[f"theta_{method}"], atol=1e-13)
        np.testing.assert_allclose(r, golden[f"R_{method}"], atol=1e-13)
        order = kuramoto.order_parameter(golden["theta_rk4"])
        np.testing.assert_allclose(order.psi, golden["psi_rk4"], atol=1e-13)
        np.testing.assert_allclose(order.r, golden["R_rk4"][-1], atol=1e-13)
    narrow, r = kuramoto.simulate(*arguments, int(golden["steps"]), method)
    np.testing.assert_allclose(narrow, golden[f"theta_{method}"], atol=1e-5)
    np.testing.assert_allclose(r, golden[f"R_{method}"], atol=1e-6)
    assert narrow.dtype == jnp.float32


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("split", 2), ("rk4", 4)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(crowd, method, order):
    with jax.enable_x64(True):
        theta0, omega = (jnp.asarray(x, jnp.float64) for x in crowd)
        exact = kuramoto.simulate(theta0, omega, 1.7, 1 / 1024, 1024)[0]
        errors = [jnp.abs(kuramoto.simulate(theta0, omega, 1.7, 1 / n, n, method)[0] - exact).max() for n in (32, 64)]
        assert float(jnp.log2(errors[0] / errors[1])) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("method", kuramoto.METHODS)
def test_what_no_coupling_can_change(crowd, method):
    theta0, omega = crowd
    theta, r = kuramoto.simulate(theta0, omega, 2.5, 0.05, 200, method)
    np.testing.assert_allclose(theta.mean(axis=1), theta0.mean(axis=1) + 10 * omega.mean(), atol=2e-5)
    turned, same = kuramoto.simulate(theta0 + 1.3, omega, 2.5, 0.05, 200, method)
    np.testing.assert_allclose(turned - 1.3, theta, atol=1e-3)
    np.testing.assert_allclose(same, r, atol=1e-4)
    assert r.shape == (201, 3) and (r[-1] > r[0] + 0.1).any()


@pytest.mark.parametrize("method", kuramoto.METHODS)
def test_without_coupling_phases_turn_freely(crowd, method):
    theta0, omega = crowd
    theta, _ = kuramoto.simulate(theta0, 40 * omega, 0.0, 0.1, 300, method)
    np.testing.assert_allclose(theta, theta0 + 1200 * omega[None], rtol=2e-5, atol=1e-3)


def test_alike_oscillators_only_gather(crowd):
    r = kuramoto.simulate(crowd[0], 0.4, 1.0, 0.05, 400)[1]
    assert (jnp.diff(r, axis=0) >= -1e-6).all() and (r[-1] > 0.9).all()


def test_two_oscillators_lock_or_drift_by_the_closed_form():
    locked = kuramoto.simulate(np.array([0.3, -0.4]), np.array([0.5, -0.5]), 1.6, 0.02, 3000)[1][-1]
    assert float(locked) == pytest.approx(math.cos(math.asin(1 / 1.6) / 2), abs=1e-5)
    # Past the period 2 pi / sqrt(domega^2 - K^2) the difference is one turn further.
    period = 2 * math.pi / math.sqrt(2.0**2 - 1.2**2)
    theta0 = np.array([0.7, 0.1])
    theta, _ = kuramoto.simulate(theta0, np.array([1.0, -1.0]), 1.2, period / 400, 400)
    assert float(theta[0] - theta[1]) == pytest.approx(0.6 + 2 * math.pi, abs=1e-4)


def test_free_phases_have_mean_square_one_over_n(key):
    for n in (4, 100):
        theta = jax.random.uniform(jax.random.fold_in(key, n), (20_000, n), maxval=2 * math.pi)
        squared = np.asarray(kuramoto.order_parameter(theta).r) ** 2
        assert squared.mean() * n == pytest.approx(1, abs=float(4 * squared.std() * n / math.sqrt(20_000)))


def test_couplings_and_frequencies_broadcast_and_batches_are_their_members(crowd):
    theta0, omega = crowd
    K = jnp.array([0.0, 1.0, 3.0])
    theta, r = kuramoto.simulate(theta0, omega, K, 0.1, 30)
    for b in range(3):
        alone, r_alone = kuramoto.simulate(theta0[b], omega, K[b], 0.1, 30)
        np.testing.assert_allclose(theta[b], alone, atol=1e-5)
        np.testing.assert_allclose(r[:, b], r_alone, atol=1e-6)
    mapped = jax.jit(jax.vmap(lambda k: kuramoto.simulate(theta0[0], omega, k, 0.1, 30)[1]))(K)
    alone = kuramoto.simulate(theta0[0], omega, K, 0.1, 30)[1]
    np.testing.assert_allclose(mapped, alone.T, atol=1e-5)


def test_velocity_is_the_sum_over_pairs(crowd):
    theta, omega = (np.asarray(x) for x in crowd)
    pairs = np.sin(theta[:, None, :] - theta[:, :, None]).mean(axis=2)
    np.testing.assert_allclose(kuramoto.velocity(theta, omega, 1.9), omega[None] + 1.9 * pairs, atol=2e-6)


@pytest.mark.slow
def test_r_is_differentiable_along_a_path_and_at_zero(crowd):
    theta0, omega = crowd

    def last(K):
        return kuramoto.simulate(theta0[0], omega, K, 0.1, 20, "euler")[1][-1]

    h = 1e-2
    assert float(jax.grad(last)(1.5)) == pytest.approx(float(last(1.5 + h) - last(1.5 - h)) / (2 * h), rel=2e-3)
    opposite = jnp.array([0.0, jnp.pi])
    for part in (lambda t: kuramoto.order_parameter(t).r, lambda t: kuramoto.order_parameter(0 * t + opposite).psi):
        assert jnp.isfinite(jax.grad(part)(opposite)).all()


def test_sines_keep_seven_digits_over_many_turns():
    x = np.linspace(-3000, 3000, 100_001, dtype=np.float32)
    sin, cos = kuramoto._waves(jnp.asarray(x))
    assert np.abs(cos - np.cos(x.astype(float))).max() < 2e-7 and np.abs(sin - np.sin(x.astype(float))).max() < 2e-7
    assert (jnp.abs(kuramoto._waves(jnp.array([1e9, -1e30, 3e38], jnp.float32))) <= 1.01).all()
    assert jnp.isnan(kuramoto._waves(jnp.array([jnp.nan]))).all()


OTT_ANTONSEN = [
    ((0.01, 4.0, 1.0), (0.027165468, 0.073497677, 0.638367572, 0.707103138)),
    ((0.9, 1.0, 1.0), (0.443932395, 0.253907328, 0.054994945, 0.004507495)),
    ((0.5, 2.0, 1.0), (0.408248290, 0.353553391, 0.267261242, 0.204124145)),
    ((0.05, 3.0, 0.5), (0.134314596, 0.337123261, 0.811616696, 0.816496357)),
]


@pytest.mark.parametrize(("start", "values"), OTT_ANTONSEN)
def test_ott_antonsen(start, values):
    found = kuramoto.ott_antonsen(np.array([1.0, 2.0, 5.0, 10.0]), *start)
    np.testing.assert_allclose(found, values, rtol=2e-6)
    assert float(kuramoto.ott_antonsen(0.0, *start)) == pytest.approx(start[0])
    assert jnp.isfinite(jax.grad(lambda K: kuramoto.ott_antonsen(100.0, start[0], K, start[2]))(start[1]))


def test_many_oscillators_follow_ott_antonsen():
    omega = kuramoto.quantile_frequencies("lorentzian", 1.0, 4000)
    theta0 = 2 * np.arctan(np.tan(np.pi * ((np.arange(4000) * 0.6180339887) % 1 - 0.5)) / 3)
    r = kuramoto.simulate(theta0, omega, 4.0, 0.02, 300, "split")[1]
    expected = kuramoto.ott_antonsen(0.02 * np.arange(301), 0.5, 4.0)
    np.testing.assert_allclose(r, expected, atol=0.01)


@pytest.mark.parametrize("distribution", kuramoto.DISTRIBUTIONS)
def test_drawn_frequencies_have_the_stated_quantiles(key, distribution):
    quantiles = np.asarray(kuramoto.quantile_frequencies(distribution, 2.0, 9, 5.0))
    drawn = np.asarray(kuramoto.random_frequencies(key, distribution, 2.0, 40_000, 5.0))
    np.testing.assert_allclose(quantiles, -quantiles[::-1], atol=1e-6)
    shares = (drawn[:, None] < quantiles).mean(axis=0)
    np.testing.assert_allclose(shares, (np.arange(9) + 0.5) / 9, atol=4 * 0.5 / math.sqrt(40_000))


def test_names_that_are_none_are_refused(key):
    for call in (
        lambda: kuramoto.critical_coupling("cauchy"),
        lambda: kuramoto.stationary_r(1.0, "cauchy"),
        lambda: kuramoto.random_frequencies(key, "cauchy", 1.0, 3),
        lambda: kuramoto.quantile_frequencies("cauchy", 1.0, 3),
        lambda: kuramoto.simulate(np.zeros(3), 1.0, 1.0, 0.1, 2, "heun"),
    ):
        with pytest.raises(InputError, match=r"cauchy|heun"):
            call()
