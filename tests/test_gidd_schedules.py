"""Schedules: exact identities of the three masses and weights, their ends, and one program for every mix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import corruption, schedules
from gidd_jax.errors import InputError

V, MASK = 7, 2
ALPHA = 1e-3
UNIT = {
    "linear 0": schedules.linear(V, MASK, 0.0),
    "linear .3": schedules.linear(V, MASK, 0.3),
    "linear 1": schedules.linear(V, MASK, 1.0),
    "hybrid 0": schedules.hybrid(V, MASK),
    "hybrid .2": schedules.hybrid(V, MASK, 0.2),
    "hybrid .9 g2": schedules.hybrid(V, MASK, 0.9, 2.0),
    "hybrid .5 g.5": schedules.hybrid(V, MASK, 0.5, 0.5),
}
LOG_SNR = {
    f"snr {shift} {scale}": schedules.log_snr(V, MASK, scale, shift)
    for shift, scale in ((-1000.0, 1.0), (-2.0, 1.0), (0.0, 0.5), (2.0, 1.0), (1000.0, 1.0))
}
ALL = UNIT | LOG_SNR


def inner_times(schedule):
    return schedule.time_of(jnp.linspace(0.01, 0.99, 23))


@pytest.mark.parametrize("name", ALL)
def test_masses_are_a_distribution_with_the_three_values_at_their_places(name):
    schedule = ALL[name]
    for t in (inner_times(schedule), jnp.array([[0.0, 1.0], [1e-4, 1 - 1e-4]]), 0.5):
        masses = schedule.masses(t)
        np.testing.assert_allclose(masses.keep + masses.mask + (V - 1) * masses.uniform, 1, rtol=3e-7)
        noise = schedules.beta_pi(schedule, t)
        assert noise.shape == (*jnp.shape(t), V) and bool((noise >= 0).all())
        np.testing.assert_array_equal(noise[..., MASK], masses.mask)
        np.testing.assert_array_equal(noise[..., MASK + 1], masses.uniform)
    ids = jnp.array([[0, MASK, 5], [MASK, 1, 1]])
    t = schedule.time_of(jnp.array([0.3, 0.6]))
    chosen = np.take_along_axis(np.asarray(schedules.beta_pi(schedule, t)), np.asarray(ids), -1)
    np.testing.assert_array_equal(schedules.mass_at(schedule, t, ids), chosen)


@pytest.mark.parametrize("name", ALL)
def test_elbo_weights_are_their_definition(name):
    """((beta pi)'(z) - alpha'/alpha (beta pi)(z)) / q_t(z|x) by automatic derivatives, in float64."""
    with jax.enable_x64(True):
        schedule = jax.tree.map(np.float64, ALL[name])
        t = inner_times(schedule)
        q, slope = jax.jvp(lambda t: schedules.beta_pi(schedule, t), (t,), (jnp.ones_like(t),))
        keep, keep_slope = jax.jvp(lambda t: schedules.alpha(schedule, t), (t,), (jnp.ones_like(t),))
        # Log-SNR runs from noisy to clean, and its weight is divided by the density of its draws.
        sign, density = (-1, schedule.snr_density(t)) if name in LOG_SNR else (1, 1)
        rate = sign * (slope - (keep_slope / keep)[:, None] * q)
        x = 4
        for z in (MASK, x, 0):
            mass = q[:, z] + keep * (z == x)
            found = schedules.elbo_weight(schedule, jnp.full((1, 23), x), jnp.full((1, 23), z), t[None])[0]
            if bool((mass > 0).all()) and float(mass.min()) > 1e-200:
                np.testing.assert_allclose(found * density, rate[:, z] / mass, rtol=1e-7, atol=1e-12)
            else:
                assert name in ("linear 0", "linear 1", "snr -1000.0 1.0", "snr 1000.0 1.0")
                np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_snr_density_is_the_density_of_the_log_snr(name):
    with jax.enable_x64(True):
        schedule = jax.tree.map(np.float64, ALL[name])
        t = inner_times(schedule)
        _, slope = jax.jvp(lambda t: schedules.log_snr_at(schedule, t), (t,), (jnp.ones_like(t),))
        # u -> t is uniform for unit time; for log-SNR the density of t is dt/du inverted, up to the range's 2.5e-4.
        _, stretch = jax.jvp(schedule.time_of, (jnp.linspace(0.01, 0.99, 23),), (jnp.ones(23),))
        rtol = 1e-9 if name in UNIT else 3e-4
        expected = 1 / np.abs(slope) if name in UNIT else 1 / np.abs(stretch)
        np.testing.assert_allclose(schedule.snr_density(t), expected, rtol=rtol)


def test_ends_of_time_are_exact_and_finite():
    for name, schedule in UNIT.items():
        keep = schedules.alpha(schedule, jnp.array([0.0, 1.0]))
        np.testing.assert_array_equal(keep, [1.0, 0.0], err_msg=name)
    ends = jnp.array([0.0, 1.0, 1e-38, -50.0, 50.0])
    for name, schedule in ALL.items():
        t = ends[:3] if name in UNIT else ends
        for weights in (schedule.elbo_weights(t), schedule.dynamic_clean(t), schedule.snr_density(t)):
            assert all(bool(jnp.isfinite(w).all()) for w in jax.tree.leaves(weights)), name


def test_hybrid_noise_peaks_at_p_uniform_and_bridges_to_log_snr():
    t = jnp.linspace(0.01, 0.99, 99)
    for p in (0.1, 0.2, 0.5):
        schedule = schedules.hybrid(V, MASK, p)
        uniform = (V - 1) * schedule.masses(t).uniform
        assert float(t[uniform.argmax()]) == pytest.approx(0.5) and float(uniform.max()) == pytest.approx(p, rel=1e-5)
        logit = schedules.uniform_logit(schedule, t)
        np.testing.assert_allclose(logit, np.log(2 * p / (1 - p)) + 0.5 * np.log((1 - t) / t), atol=2e-5)
    both = schedules.log_snr(V, MASK, 0.5, 1.0)
    l = jnp.linspace(-8.0, 8.0, 9)
    np.testing.assert_allclose(schedules.uniform_logit(both, l), 0.5 * l + 1, atol=1e-4)
    np.testing.assert_allclose(schedules.log_snr_at(both, l), l, atol=1e-5)


def test_paper_weight_follows_the_elbo_and_the_codes_does_not():
    """V = 50,259, p_uniform .2: the two weights at z = x differ by 100 at either end of time."""
    schedule, t = schedules.hybrid(50_259, 50_258, 0.2), jnp.array([1e-4, 1 - 1e-4])
    np.testing.assert_allclose(schedules.paper_clean(schedule, t), [9.9e-8, 1e-3], rtol=0.02)
    np.testing.assert_allclose(schedule.dynamic_clean(t), [1.3e-5, 1.1e-5], rtol=0.05)
    weights = schedule.elbo_weights(t)
    np.testing.assert_allclose(weights.clean / weights.noise, schedules.paper_clean(schedule, t), rtol=2e-3)


def test_one_program_serves_every_mix_also_as_rows_of_an_array():
    traces = 0

    @jax.jit
    def keep(schedule, t):
        nonlocal traces
        traces += 1
        return schedules.alpha(schedule, t)

    mixes = [0.0, 0.3, 0.9]
    alone = [keep(schedules.hybrid(V, MASK, p, jnp.float32(1.0)), 0.3) for p in mixes]
    assert traces == 1
    rows = jax.vmap(lambda p: keep(schedules.hybrid(V, MASK, p, jnp.float32(1.0)), 0.3))(jnp.array(mixes))
    np.testing.assert_allclose(rows, jnp.stack(alone), rtol=1e-6)
    slope = jax.grad(lambda p: schedules.alpha(schedules.hybrid(V, MASK, p), 0.3))(0.2)
    step = 1e-3
    apart = [float(schedules.alpha(schedules.hybrid(V, MASK, 0.2 + d), 0.3)) for d in (-step, step)]
    assert float(slope) == pytest.approx((apart[1] - apart[0]) / (2 * step), rel=1e-3)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: schedules.hybrid(V, MASK, 1.0), "shift=1000"),
        (lambda: schedules.hybrid(V, MASK, -0.1), "p_uniform"),
        (lambda: schedules.hybrid(V, MASK, 0.1, 2.5), "gamma"),
        (lambda: schedules.hybrid(V, V, 0.1), "mask_id"),
        (lambda: schedules.linear(V, MASK, float("nan")), "p_uniform"),
        (lambda: schedules.log_snr(V, MASK, shift=float("inf")), "shift"),
        (lambda: schedules.log_snr(V, MASK, min_log_snr=3.0, max_log_snr=3.0), "min_log_snr"),
    ],
)
def test_mistakes_are_refused_in_one_line(make, message):
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_traced_p_uniform_of_one_stays_finite():
    masses = jax.jit(lambda p: schedules.hybrid(V, MASK, p).masses(0.5))(1.0)
    assert all(bool(jnp.isfinite(mass)) for mass in masses) and float(masses.mask) < 1e-6


def test_times_follow_their_density_and_low_discrepancy_spreads_them(key):
    snr = schedules.log_snr(V, MASK, min_log_snr=-6.0, max_log_snr=9.0)
    l = np.asarray(corruption.sample_times(key, snr, (20_000,), low_discrepancy=False))
    assert l.min() >= -6.001 and l.max() <= 9.001
    assert stats.kstest(l, stats.logistic.cdf).pvalue > ALPHA
    t = np.asarray(corruption.sample_times(jax.random.key(1), schedules.hybrid(V, MASK), (50, 3)))
    assert t.min() >= 1e-4 and t.max() <= 1 - 1e-4 and t.shape == (50, 3)
    in_each = np.histogram((t - 1e-4) / (1 - 2e-4), bins=np.linspace(0, 1, 51))[0]
    assert in_each.max() <= 4 and np.ptp(t[0]) > 0.01  # One a cell of each column, but for rounding at the edges.
