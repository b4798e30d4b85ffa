"""Averages by noise level, and what the GIDD loss reports by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import corruption, losses, schedules

B, S = 6, 5


@pytest.mark.parametrize("shape", [(), (B,), (B, S)])
def test_bins_are_numpys_histogram(shape):
    rng = np.random.default_rng(0)
    t = rng.random(shape).astype(np.float32)
    value, where = rng.normal(size=(B, S)).astype(np.float32), rng.random((B, S)) < 0.7
    value[~where] = np.nan
    found = jax.jit(losses.by_time)(value, where, jnp.asarray(t))
    of_cell = np.broadcast_to(t.reshape(shape + (1,) * (2 - len(shape))), (B, S))[where]
    for weights, part in ((value[where], found.total), (None, found.weight)):
        np.testing.assert_allclose(part, np.histogram(of_cell, losses.T_BINS, (0, 1), weights=weights)[0], rtol=1e-5)


def test_both_ends_of_time_have_a_bin():
    found = losses.by_time(jnp.ones((3, 1)), jnp.ones((3, 1), bool), jnp.array([0.0, 1.0, 1.0]))
    assert found.weight.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    "schedule",
    [schedules.log_snr(9, 8), pytest.param(schedules.hybrid(9, 8, 0.3), marks=pytest.mark.slow)],
    ids=lambda s: type(s).__name__,
)
def test_the_loss_reports_its_terms_by_time(schedule):
    """Pooled over the bins they are the means over valid cells, at weight 1; log-SNR l is binned by sigmoid(-l)."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, t = jnp.arange(B * S).reshape(B, S) % 8, corruption.sample_times(keys[0], schedule, (B,))
    logits, valid = jax.random.normal(keys[1], (B, S, 9)), jnp.arange(S)[None] < 3 + jnp.arange(B)[:, None] % 3

    @jax.jit
    def measured(key):
        z, _ = corruption.corrupt(key, schedule, x, t)
        return losses.gidd_loss(schedule, logits, x, z, t, "clip", 1.0, 1.0, valid)[1]

    metrics = measured(keys[2])
    unit = np.asarray(t if isinstance(schedule, schedules.Hybrid) else 1 / (1 + np.exp(t)))
    held = np.histogram(unit, losses.T_BINS, (0, 1), weights=valid.sum(1))[0]
    for name, whole in (("elbo/t", "elbo"), ("kl/t", "kl_loss"), ("is/t", "is_loss")):
        np.testing.assert_array_equal(metrics[name].weight, held)
        np.testing.assert_allclose(metrics[name].total.sum() / held.sum(), metrics[whole], rtol=1e-5)
        assert not np.asarray(metrics[name].total)[held == 0].any()
