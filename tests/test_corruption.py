"""Noise: exact invariants, and frequencies against the marginal with a stated alpha."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import corruption, schedules

VOCAB, MASK = 10, 9
ALPHA = 1e-4


@pytest.mark.parametrize("p_uniform", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_a_marginal_is_a_distribution(p_uniform, t):
    schedule = schedules.linear(VOCAB, MASK, p_uniform)
    total = schedules.alpha(schedule, t) + schedules.beta_pi(schedule, t).sum()
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_the_closed_form_of_the_mixture():
    schedule = schedules.linear(VOCAB, MASK, 0.3)
    expected = np.append(np.full(9, 0.5 * 0.3 / 9), 0.5 * 0.7)
    np.testing.assert_allclose(schedules.beta_pi(schedule, 0.5), expected, rtol=1e-6)
    assert schedules.beta_pi(schedule, jnp.full((2, 3), 0.5)).shape == (2, 3, VOCAB)


@pytest.mark.parametrize("p_uniform", [0.0, 0.4, 1.0])
def test_draws_follow_the_marginal(key, p_uniform):
    """Chi-square of 400,000 draws of one clean token against q_t, alpha = 1e-4."""
    schedule, t, count = schedules.linear(VOCAB, MASK, p_uniform), 0.6, 400_000
    x = jnp.full((count // 100, 100), 2)
    z, resampled = corruption.corrupt(key, schedule, x, t)
    expected = np.array(corruption.marginal(schedule, jax.nn.one_hot(x[:1, :1], VOCAB), t))[0, 0]
    seen = np.bincount(np.array(z).ravel(), minlength=VOCAB)
    assert (seen[expected == 0] == 0).all()
    possible = expected > 0
    wanted = np.float64(expected[possible])
    assert stats.chisquare(seen[possible], count * wanted / wanted.sum()).pvalue > ALPHA
    assert stats.binomtest(int(resampled.sum()), count, t).pvalue > ALPHA
    assert bool((z == x)[~np.array(resampled)].all())


@pytest.mark.parametrize(
    "schedule, t",
    [
        (schedules.hybrid(VOCAB, MASK, 0.0), 0.4),
        (schedules.hybrid(VOCAB, MASK, 0.5), 0.7),
        (schedules.hybrid(VOCAB, 0, 0.9, 2.0), 0.5),
        (schedules.log_snr(VOCAB, MASK, shift=-1000.0), -0.5),
        (schedules.log_snr(VOCAB, 3, 0.5, 0.3), -0.5),
        (schedules.log_snr(VOCAB, MASK, shift=1000.0), -0.5),
    ],
)
def test_draws_of_every_schedule_follow_the_marginal(key, schedule, t):
    """Chi-square of 200,000 draws against q_t, alpha = 1e-3; half of the batch at another time."""
    x = jnp.full((2, 200_000), 2)
    times = jnp.array([t, t - 0.3])
    z, resampled = corruption.corrupt(key, schedule, x, times)
    expected = np.float64(corruption.marginal(schedule, jax.nn.one_hot(x[:, :1], VOCAB), times))[:, 0]
    for row in range(2):
        seen = np.bincount(np.array(z[row]), minlength=VOCAB)
        possible = expected[row] * seen.sum() > 5
        assert seen[~possible].sum() <= 10
        wanted = expected[row][possible]
        assert stats.chisquare(seen[possible], seen[possible].sum() * wanted / wanted.sum()).pvalue > 1e-3
        rate = float(schedules.alpha(schedule, times[row]))
        assert stats.binomtest(int(resampled[row].sum()), 200_000, 1 - rate).pvalue > 1e-3


def test_the_prior_is_the_noise_alone(key):
    schedule = schedules.hybrid(VOCAB, MASK, 0.9)
    z = np.array(corruption.prior(key, schedule, (2, 100_000), jnp.array([1 - 1e-4, 0.5])))
    for row, t in enumerate((1 - 1e-4, 0.5)):
        pi = np.float64(schedules.beta_pi(schedule, t))
        assert stats.chisquare(np.bincount(z[row], minlength=VOCAB), 100_000 * pi / pi.sum()).pvalue > 1e-3


def test_ends_of_time_are_the_clean_board_and_pure_noise(key):
    schedule, x = schedules.linear(VOCAB, MASK, 0.0), jnp.arange(8).reshape(2, 4)
    clean, untouched = corruption.corrupt(key, schedule, x, 0.0)
    noise, all_of_it = corruption.corrupt(jax.random.key(1), schedule, x, 1.0)
    assert bool((clean == x).all()) and not bool(untouched.any())
    assert bool((noise == MASK).all()) and bool(all_of_it.all())


def test_protected_cells_never_change_and_time_may_differ_by_cell(key):
    schedule, x = schedules.linear(VOCAB, MASK, 1.0), jnp.full((64, 81), 4)
    protected = jnp.broadcast_to(jnp.arange(81) % 3 == 0, x.shape)
    z, resampled = corruption.corrupt(key, schedule, x, 1.0, protected)
    assert bool((z == x)[protected].all()) and not bool(resampled[protected].any())
    t = jnp.broadcast_to(jnp.where(jnp.arange(81) < 40, 0.0, 1.0), x.shape)
    _, resampled = corruption.corrupt(jax.random.key(1), schedule, x, t)
    assert not bool(resampled[:, :40].any()) and bool(resampled[:, 40:].all())


def test_low_discrepancy_times_fall_one_to_a_cell_and_the_floor_holds(key):
    t = np.sort(np.array(corruption.uniform_times(key, 50, True)))
    assert (np.floor(t * 50) == np.arange(50)).all() or np.ptp(np.diff(t)) < 1e-5
    many = np.array(corruption.uniform_times(jax.random.key(1), 20_000, False, 1 / 81))
    assert many.min() == np.float32(1 / 81)
    assert stats.kstest(many[many > 1 / 81], stats.uniform(1 / 81, 80 / 81).cdf).pvalue > ALPHA


def test_times_spread_over_a_batch_are_one_uniform_number_moved_on():
    np.testing.assert_allclose(corruption.spread(0.6, 4), [0.6, 0.85, 0.1, 0.35], atol=1e-6)
    np.testing.assert_allclose(corruption.spread(np.array([0.0, 0.9]), 2), [[0, 0.9], [0.5, 0.4]], atol=1e-6)


def test_one_program_serves_every_noise_mix(key):
    count = 0

    @jax.jit
    def run(p_uniform, t):
        nonlocal count
        count += 1
        return corruption.corrupt(
            jax.random.key(0), schedules.linear(VOCAB, MASK, p_uniform), jnp.zeros((2, 3), int), t
        )

    for p_uniform in (0.0, 0.5, 1.0):
        run(p_uniform, jnp.full(2, 0.5))
    assert count == 1
