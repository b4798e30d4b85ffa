"""Two branches, the gain of their score, the product of gains: where m, c and gamma are known, they are found again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import replica

branching = jax.jit(replica.branching)


def mixture(m, c, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice([-1.0, 1.0], size=count) * m + np.sqrt(c) * rng.normal(size=count)


def test_two_branches_are_found_and_the_mean_square_is_kept():
    """Of 20,000 draws 3 spreads apart m and c err as a mean and a variance do; 4 standard errors are granted."""
    a = np.stack([mixture(1.5, 0.25, 20_000), mixture(3.0, 1.0, 20_000, 1)])
    m, c, evidence = branching(a)
    np.testing.assert_allclose(m, [1.5, 3.0], atol=4 / np.sqrt(20_000))
    np.testing.assert_allclose(c, [0.25, 1.0], rtol=4 * np.sqrt(2 / 20_000) * 1.2)
    np.testing.assert_allclose(np.square(m) + c, np.square(a).mean(-1), rtol=1e-5)
    assert (evidence > 1000).all()
    # In other units everything scales.
    scaled = branching(10 * a)
    np.testing.assert_allclose(scaled.m, 10 * m, rtol=1e-4)
    np.testing.assert_allclose(scaled.evidence, evidence, rtol=1e-3)


def test_it_is_the_likeliest_pair():
    """Against the log likelihood written out, on a fine grid."""
    a = mixture(1.2, 1.0, 300, 5)
    m, c, evidence = (float(x) for x in branching(a))

    def log_likelihood(m, c):
        normal = lambda x: -np.square(x) / (2 * c) - np.log(2 * np.pi * c) / 2  # noqa: E731
        return np.logaddexp(normal(a - m), normal(a + m)).sum() - len(a) * np.log(2)

    power = np.square(a).mean()
    others = [log_likelihood(np.sqrt(w * power), (1 - w) * power) for w in np.linspace(0, 0.99, 400)]
    assert log_likelihood(m, c) == pytest.approx(max(others), abs=2e-3)
    # Nor does another mean square do better.
    assert max(log_likelihood(m * s, c * t) for s in (0.98, 1.02) for t in (0.97, 1.03)) < max(others)
    assert evidence == pytest.approx(2 * (max(others) - others[0]), abs=0.01)


def test_one_gaussian_is_seldom_taken_for_two_and_heavy_tails_never():
    """1000 sets of 224 draws: evidence above 2.71 in 5 % to leading order; 3 standard errors are 2 %."""
    rng = np.random.default_rng(2)
    found = branching(rng.normal(size=(1000, 224)))
    share = float((found.evidence > replica.EVIDENT).mean())
    assert 0.02 < share < 0.07
    heavy = branching(rng.standard_t(3, size=(50, 1000)))
    assert (heavy.m == 0).all()
    evident = found.evident
    np.testing.assert_allclose(np.square(evident.m) + evident.c, np.square(found.m) + found.c, rtol=1e-5)
    assert (np.asarray(evident.m > 0) == np.asarray(found.evidence > replica.EVIDENT)).all()
    assert branching(np.zeros(9)).m == 0


def test_the_gain_of_the_score_is_recovered_and_pure_gain_has_none():
    K, M, gamma = 3, 4000, 0.2
    eta = jnp.asarray([1.05, 0.95, 1.0])
    before = np.stack([mixture(2.0, 0.5, M, 1), mixture(1.0, 1.0, M, 2), mixture(0.0, 2.0, M, 3)])
    truth = replica.Branching(jnp.asarray([2.0, 1.0, 0.0]), jnp.asarray([0.5, 1.0, 2.0]), jnp.ones(K))
    score = np.stack(
        [
            replica.mixture_score(a[:, None], m[None], c[None, None])[:, 0]
            for a, m, c in zip(before, *truth[:2], strict=True)
        ]
    )
    noise = np.random.default_rng(4).normal(size=before.shape)
    after = np.asarray(eta)[:, None] * before + gamma * score
    exact = replica.score_gain(before, after, eta, truth)
    np.testing.assert_allclose(exact.gamma, gamma, rtol=1e-4)
    assert exact.explained == pytest.approx(1, abs=1e-4)
    noisy = replica.score_gain(before, after + 0.1 * noise, eta, truth)
    assert noisy.gamma == pytest.approx(gamma, abs=0.01) and 0.5 < float(noisy.explained) < 0.99
    nothing = replica.score_gain(before, np.asarray(eta)[:, None] * before + 0.1 * noise, eta, truth)
    assert abs(float(nothing.gamma)) < 0.01 and float(nothing.explained) < 0.01


def test_a_mode_parts_where_the_whole_slope_of_a_block_is_above_one():
    """kappa > 1 (50-51) says the same as eta - gamma (1/c - m^2/c^2) > 1, the total gain at the symmetric point."""
    rng = np.random.default_rng(6)
    m, c, gamma = rng.uniform(0.1, 2, size=(3, 500))
    eta = rng.uniform(0.8, 1.1, size=500)
    found = replica.speciation(m, c, gamma, eta)
    slope = eta - gamma * (1 / c - np.square(m) / np.square(c))
    assert 50 < int((slope > 1).sum()) < 450
    np.testing.assert_array_equal((found.kappa > 1)[found.valid], (slope > 1)[found.valid])


def test_the_closure_is_a_product_over_what_came_before():
    eta = jnp.asarray([[2.0, 1.0], [3.0, 0.5], [5.0, 7.0]])
    np.testing.assert_allclose(replica.carried(jnp.asarray([1.0, 4.0]), eta), [[1, 4], [2, 4], [6, 2]])
    # Blocks of two steps, (s, l) in the order they run.
    path = jnp.full((2, 3, 1), 1.1).reshape(6, 1)
    np.testing.assert_allclose(replica.carried(jnp.ones(1), path)[:, 0], 1.1 ** np.arange(6), rtol=1e-5)
