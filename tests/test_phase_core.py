"""The phase core: Kuramoto oscillators of a position, R as a probability, and what must not cross a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import kuramoto
from gidd_jax.errors import InputError
from gidd_jax.models import phase_core
from gidd_jax.models.phase_core import CoreConfig

APPLY = jax.jit(phase_core.apply, static_argnums=1)
HIDDEN = jax.random.normal(jax.random.key(0), (3, 5, 8))


def core(**settings):
    config = CoreConfig(8, **settings)
    return config, phase_core.init(jax.random.key(1), config)


def test_without_conditioning_it_is_the_kuramoto_model():
    config, params = core(oscillators=12, steps=9, dt=0.1)
    theta0 = jnp.linspace(-3.0, 3.0, 12)
    params |= {"kernel": jnp.zeros_like(params["kernel"]), "bias": jnp.concatenate([jnp.cos(theta0), jnp.sin(theta0)])}
    for K in (0.0, 2.0, 7.0):
        _, r = kuramoto.simulate(theta0, params["omega"], K, 0.1, 9, method="euler")
        np.testing.assert_allclose(APPLY(params, config, HIDDEN, K), jnp.full((3, 5), r[-1]), rtol=2e-6)


@pytest.mark.parametrize("scope", ["position", "sequence"])
def test_nothing_crosses_sequences_and_by_position_nothing_crosses_positions(scope):
    config, params = core(scope=scope)
    counted = jnp.arange(5)[None] < jnp.array([[5], [3], [2]])
    r = APPLY(params, config, HIDDEN, 2.0, counted)
    for i in range(3):
        alone = APPLY(params, config, HIDDEN[i : i + 1], 2.0, counted[i : i + 1])
        np.testing.assert_allclose(alone[0], r[i], rtol=1e-6)
    changed = APPLY(params, config, HIDDEN.at[0, 4].add(1.0), 2.0, counted)
    assert (np.asarray(changed[0]) != np.asarray(r[0])).any()
    if scope == "position":
        np.testing.assert_array_equal(changed[0, :4], r[0, :4])
    else:
        uncounted = APPLY(params, config, HIDDEN.at[2, 4].add(1.0), 2.0, counted)
        np.testing.assert_array_equal(uncounted, r)
        assert (np.ptp(np.asarray(r), axis=1) == 0).all()


def test_unrelated_phases_have_the_r_of_finite_size_and_debiased_none():
    config, params = core(oscillators=16, steps=0)
    hidden = jax.random.normal(jax.random.key(2), (40, 100, 8))
    params |= {"kernel": jax.random.normal(jax.random.key(3), params["kernel"].shape)}
    r = np.asarray(APPLY(params, config, hidden, 0.0))
    # Phases of one position share D = 8 hidden numbers, so they are unrelated only on average: E[r^2] = 1/n holds.
    assert np.mean(r**2) == pytest.approx(1 / 16, abs=0.012)
    config = CoreConfig(8, steps=0, debiased=True)
    debiased = np.asarray(APPLY(params, config, hidden, 0.0))
    np.testing.assert_allclose(debiased**2, np.maximum(0, (16 * r**2 - 1) / 15), atol=1e-6)


def test_saturated_tanh_phases_agree_whatever_they_say_and_atan2_phases_do_not():
    big = 1e6 * HIDDEN
    for phases, agree in (("tanh", True), ("atan2", False)):
        config, params = core(phases=phases, steps=0)
        r = np.asarray(APPLY(params, config, big, 0.0))
        assert (r > 0.99).all() == agree


def test_coupling_raises_r_and_gradients_are_finite_even_where_phases_or_r_vanish():
    config, params = core(steps=40, dt=0.05)
    weak, strong = (np.asarray(APPLY(params, config, HIDDEN, K)).mean() for K in (0.0, 20.0))
    assert strong > 0.95 > weak
    right = jnp.arange(15).reshape(3, 5) % 2 == 0
    nats = lambda p: phase_core.calibration_loss(phase_core.apply(p, config, HIDDEN, 2.0), right, right | True)  # noqa: E731
    grad = jax.jit(jax.grad(nats))
    for bias in (params["bias"] + 0.3, params["bias"]):
        frozen = params | {"bias": bias, "kernel": jnp.zeros_like(params["kernel"])}
        for leaf in jax.tree.leaves(grad(frozen)):
            assert np.isfinite(np.asarray(leaf)).all()


def test_the_loss_is_least_where_r_is_the_share_right_and_calibration_counts():
    right = jnp.array([[True, True, True, False]])
    where = jnp.ones((1, 4), bool)
    losses = [float(phase_core.calibration_loss(jnp.full((1, 4), r), right, where)) for r in (0.7, 0.75, 0.8)]
    assert losses[1] == min(losses) and losses[1] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    found = phase_core.calibration(jnp.array([[0.05, 0.95, 0.95, 0.5]]), right, where.at[0, 3].set(False))
    assert float(found["ece"].value()) == pytest.approx((0.95 + 2 * 0.05) / 3)
    np.testing.assert_allclose(found["right/r"].total, [1, 0, 0, 0, 0, 0, 0, 0, 0, 2])


def test_the_spread_of_its_frequencies_gives_the_critical_coupling_of_many_like_them():
    _, params = core(oscillators=4000)
    assert float(phase_core.gaussian_critical_coupling(params)) == pytest.approx(np.sqrt(8 / np.pi), rel=0.05)


def test_a_core_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="2 oscillators or more"):
        CoreConfig(8, oscillators=1)
