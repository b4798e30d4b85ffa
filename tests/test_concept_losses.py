"""Concept losses against numpy in float64 on the slots in use, scipy's spanning tree, closed forms; smoothed labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from gidd_jax import losses
from gidd_jax.losses import concepts

NAMES = sorted(concepts.REGULARISERS)
USED = np.array([False, True, True, False, True, True, True])
SHAPE = 4, len(USED), 5


@jax.jit
def every(z, slots):
    """Value and gradient in z of every regulariser, one program a shape."""
    return {name: jax.value_and_grad(term)(z, slots) for name, term in concepts.REGULARISERS.items()}


def cosines(z):
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return np.stack([(u @ u.T)[~np.eye(len(u), dtype=bool)] for u in unit])


def distances(z):
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return [cdist(u, u) for u in unit]


def to_nearest(z):
    return np.stack([np.where(np.eye(len(d), dtype=bool), np.inf, d).min(axis=1) for d in distances(z)])


def moments(z, floor=1e-4):
    cov = np.cov(z.reshape(-1, z.shape[-1]).T)
    short = np.maximum(1 - np.sqrt(np.diag(cov) + floor), 0).mean()
    return short, np.sum((cov - np.diag(np.diag(cov))) ** 2) / len(cov)


REFERENCE = {
    "orthogonality": lambda z: np.mean(cosines(z) ** 2),
    "soft_orthogonality": lambda z: np.mean(np.maximum(np.abs(cosines(z)) - 0.1, 0) ** 2),
    "uniformity": lambda z: np.mean(np.exp(-2 * (2 - 2 * cosines(z)))),
    "variance": lambda z: moments(z)[0],
    "covariance": lambda z: moments(z)[1],
    "vicreg": lambda z: sum(moments(z)),
    "nearest": lambda z: -to_nearest(z).mean(),
    "koleo": lambda z: -np.log(to_nearest(z)).mean(),
    "tree": lambda z: -np.mean([minimum_spanning_tree(d).sum() / len(d) for d in distances(z)]),
    "sphere": lambda z: np.mean((np.linalg.norm(z, axis=-1) - 1) ** 2),
}


@pytest.fixture(scope="module")
def spoiled():
    """Samples whose slots out of use hold what must reach nothing: (z, its used slots in float64, all terms)."""
    z = 0.7 * np.random.default_rng(0).normal(size=SHAPE).astype(np.float32) + 0.3
    z[:, ~USED] = np.nan
    return z, np.float64(z[:, USED]), every(z, USED)


@pytest.mark.parametrize("name", NAMES)
def test_a_term_equals_numpy_on_the_slots_in_use(spoiled, name):
    _, used, terms = spoiled
    np.testing.assert_allclose(terms[name][0], REFERENCE[name](used), rtol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_equals_differences_of_numpy(spoiled, name):
    _, used, terms = spoiled
    gradient = np.asarray(terms[name][1])
    np.testing.assert_array_equal(gradient[:, ~USED], 0)
    rng = np.random.default_rng(1)
    for way in rng.normal(size=(3, *used.shape)):
        slope = (REFERENCE[name](used + 1e-6 * way) - REFERENCE[name](used - 1e-6 * way)) / 2e-6
        np.testing.assert_allclose(np.sum(gradient[:, USED] * way), slope, rtol=2e-4, atol=1e-6)


def test_known_sets_have_known_values():
    four = np.arange(SHAPE[1]) < 4
    orthonormal = every(np.tile(np.eye(*SHAPE[1:], dtype=np.float32), (SHAPE[0], 1, 1)), four)
    alike = every(np.full(SHAPE, SHAPE[2] ** -0.5, np.float32), four)
    expected = {
        "orthogonality": (0, 1),
        "soft_orthogonality": (0, 0.81),
        "uniformity": (np.exp(-4), 1),
        # Each of 16 rows has one 1 in four of five features: variance (1/4)(3/4) 16/15, covariance -(1/16) 16/15.
        "variance": ((4 * (1 - np.sqrt(0.2 + 1e-4)) + 0.99) / 5, 0.99),
        "covariance": (12 / 15**2 / 5, 0),
        "nearest": (-np.sqrt(2), 0),
        "koleo": (-np.log(2) / 2, np.log(1e4)),
        "tree": (-np.sqrt(2) * 3 / 4, 0),
        "sphere": (0, 0),
    }
    for name, (apart, together) in expected.items():
        np.testing.assert_allclose(orthonormal[name][0], apart, rtol=1e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(alike[name][0], together, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", ["duplicates", "zeros", "one slot", "none", "alike", "tiny", "huge"])
def test_degenerate_inputs_have_finite_values_and_gradients(case):
    z = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    slots = np.ones(SHAPE[1], bool)
    if case == "duplicates":
        z[:, 1] = z[:, 0] = z[:, 2]
    elif case == "zeros":
        z[:, :2] = 0
    elif case in ("one slot", "none"):
        slots[:] = (np.arange(SHAPE[1]) == 2) & (case == "one slot")
    elif case == "alike":
        z[:] = z[:1]
    else:
        z *= 1e-20 if case == "tiny" else 1e8
    for name, (value, gradient) in every(z, slots).items():
        assert np.isfinite(value), name
        assert np.isfinite(gradient).all(), name
        if case == "none":
            assert (gradient == 0).all(), name
        if case == "one slot" and name not in ("variance", "covariance", "vicreg", "sphere"):
            assert value == 0, name
            assert (gradient == 0).all(), name


def test_one_row_has_no_variance():
    one = np.arange(SHAPE[1]) == 2
    value, gradient = jax.jit(jax.value_and_grad(concepts.vicreg))(np.ones((1, *SHAPE[1:]), np.float32), one)
    np.testing.assert_allclose(value, 0.99, rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_duplicates_stay_where_they_are_until_they_differ_and_koleo_pushes_hardest():
    rng = np.random.default_rng(3)
    first, away = rng.normal(size=(2, SHAPE[2]))
    first /= np.linalg.norm(first)
    away -= (away @ first) * first
    away /= np.linalg.norm(away)

    def pulls(gap):
        z = np.zeros(SHAPE, np.float32)
        z[:, 1:3] = first, first + gap * away
        return every(z, np.isin(np.arange(SHAPE[1]), (1, 2)))

    for name in ("nearest", "tree", "koleo"):
        np.testing.assert_array_equal(pulls(0.0)[name][1], 0)
    for gap in (1e-2, 1e-3):
        for name, pull in (("nearest", 1.0), ("tree", 0.5), ("koleo", 1 / gap)):
            gradient = SHAPE[0] * np.asarray(pulls(gap)[name][1])[:, 1:3]
            # Descent moves the second slot along the gap, the first against it, with the force of the formula.
            expected = np.tile(np.stack([away, -away]) * pull, (SHAPE[0], 1, 1))
            np.testing.assert_allclose(gradient, expected, atol=0.02 * pull)


def test_the_spanning_tree_is_scipys_whatever_is_out_of_use():
    rng = np.random.default_rng(4)
    for count in (2, 3, 7, 12):
        slots = np.zeros(12, bool)
        slots[rng.permutation(12)[:count]] = True
        centres = rng.normal(size=(5, 3, 4))
        z = np.concatenate([centres + 0.05 * rng.normal(size=(5, 3, 4)) for _ in range(4)], axis=1).astype(np.float32)
        expected = REFERENCE["tree"](np.float64(z[:, slots]))
        np.testing.assert_allclose(jax.jit(concepts.tree)(z, slots), expected, rtol=1e-4)


def test_the_number_of_slots_is_traced():
    z = jax.random.normal(jax.random.key(5), (2, 6, 4))
    traces = []

    @jax.jit
    @jax.vmap
    def sweep(count):
        traces.append(count)
        slots = jnp.arange(6) < count
        return {name: concepts.REGULARISERS[name](z, slots) for name in ("tree", "koleo", "vicreg")}

    rows = sweep(jnp.array([2, 4, 6]))
    for row, count in enumerate((2, 4, 6)):
        for name, values in rows.items():
            np.testing.assert_allclose(values[row], REFERENCE[name](np.float64(z[:, :count])), rtol=1e-5, err_msg=name)
    sweep(jnp.array([3, 5, 1]))
    assert len(traces) == 1


@pytest.mark.parametrize(("batch", "width"), [(9, 4), (4, 9)])
def test_seq_vcr_is_the_mean_over_slots_and_layers(batch, width):
    rng = np.random.default_rng(6)
    states = rng.normal(size=(3, batch, len(USED), width)).astype(np.float32)
    slots = jnp.asarray(USED)

    def layer(z):
        each = [moments(z[:, c].astype(np.float64), 1e-3) for c in np.flatnonzero(USED)]
        return np.mean([short + 0.004 * shared for short, shared in each])

    term = jax.jit(jax.value_and_grad(concepts.seq_vcr))
    expected = np.array([layer(z) for z in states])
    on = np.array([1.0, 0.5, 0.0], np.float32)
    value, gradient = term(states, on, slots)
    np.testing.assert_allclose(value, expected @ on / on.sum(), rtol=1e-5)
    assert (np.asarray(gradient)[2] == 0).all()
    assert (np.asarray(gradient)[:, :, ~USED] == 0).all()
    np.testing.assert_allclose(term(states, 7 * on, slots)[0], value, rtol=1e-6)
    assert term(states, 0 * on, slots)[0] == 0
    assert np.isfinite(term(np.ones_like(states), on, slots)[1]).all()


def test_a_warm_up_is_a_ramp():
    np.testing.assert_allclose([concepts.warm(step, 4) for step in (0, 1, 4, 9)], [0, 0.25, 1, 1])
    np.testing.assert_allclose([concepts.warm(step, 0) for step in (0, 9)], [1, 1])
    assert jax.jit(concepts.warm)(jnp.int32(1), jnp.float32(2)) == 0.5


def test_fixed_weights_and_learned_ones():
    task, terms = jnp.float32(3.0), {"koleo": jnp.float32(0.7), "nearest": jnp.float32(-0.2)}
    weights = {"koleo": jnp.float32(0.5), "nearest": jnp.float32(2.0)}
    np.testing.assert_allclose(concepts.weighted(task, terms, weights), 3 + 0.35 - 0.4, rtol=1e-6)
    nothing = {name: concepts.warm(0, 10) * weight for name, weight in weights.items()}
    assert concepts.weighted(task, terms, nothing) == task

    at_zero = dict.fromkeys(("task", "koleo", "nearest"), jnp.float32(0.0))
    np.testing.assert_allclose(concepts.uncertain(task, terms, at_zero), (3 + 0.7 - 0.2) / 2, rtol=1e-6)
    # The best s is log L, where the total is (1 + log L) / 2 each: below 0 once L < 1/e, which muted the task.
    positive = {"koleo": terms["koleo"]}
    best = {"task": jnp.log(task), "koleo": jnp.log(terms["koleo"])}
    slope = jax.grad(lambda s: concepts.uncertain(task, positive, s))(best)
    np.testing.assert_allclose([slope["task"], slope["koleo"]], 0, atol=1e-6)
    np.testing.assert_allclose(concepts.uncertain(task, positive, best), 1 + np.log(3 * 0.7) / 2, rtol=1e-6)
    # Under a term below 0 there is no best: the total falls with s.
    falling = [concepts.uncertain(task, terms, {**at_zero, "nearest": jnp.float32(s)}) for s in (0, -5, -10)]
    assert falling[0] > falling[1] > falling[2]
    assert falling[2] < -1000


def test_smoothed_nats_equal_numpy():
    rng = np.random.default_rng(7)
    logits = (3 * rng.normal(size=(2, 5, 11))).astype(np.float32)
    targets = rng.integers(0, 11, (2, 5))
    log_p = log_softmax(np.float64(logits), -1)
    chosen = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    both = jax.jit(losses.smoothed_cross_entropy)
    for smoothing in (0.0, 0.1):
        nats, smoothed = both(logits, targets, smoothing)
        np.testing.assert_allclose(nats, -chosen, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            smoothed, -(1 - smoothing) * chosen - smoothing * log_p.mean(-1), rtol=1e-5, atol=1e-6
        )


def test_the_smoothing_floor_is_reached_at_the_smoothed_label():
    floor = jax.jit(losses.smoothing_floor, static_argnums=1)
    np.testing.assert_allclose(floor(0.1, 50280), 1.4076, atol=5e-5)
    np.testing.assert_array_equal(floor(0.0, 7), 0)
    label = np.full(7, 0.3 / 7, np.float32)
    label[2] += 0.7
    np.testing.assert_allclose(floor(0.3, 7), -np.sum(label * np.log(label)), rtol=1e-6)
    loss = lambda logits: losses.smoothed_cross_entropy(logits, jnp.int32(2), 0.3)[1]  # noqa: E731
    at_floor, slope = jax.jit(jax.value_and_grad(loss))(np.log(label))
    np.testing.assert_allclose(at_floor, floor(0.3, 7), rtol=1e-6)
    np.testing.assert_allclose(slope, 0, atol=1e-6)
