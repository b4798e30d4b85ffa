"""Optimiser and training step against optax and by hand; order-parameter probes against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gidd_jax import optim, probes, sweep, train
from gidd_jax.errors import InputError
from tests.probes import Config, Regression


def tree(seed):
    rng = np.random.default_rng(seed)
    return {
        "a": {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)},
        "b": jnp.asarray(rng.normal(size=4), jnp.float32),
    }


@pytest.mark.parametrize(("decay", "clip"), [(0.0, 0.0), (0.1, 0.0), (0.1, 0.5)])
def test_updates_equal_optax_adamw(decay, clip):
    params, rate, b2 = tree(0), 0.01, 0.95
    reference = optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(), optax.adamw(rate, b2=b2, weight_decay=decay)
    )
    theirs, state = params, reference.init(params)
    ours, mine = params, optim.init(params, keep_average=False)
    for step in range(5):
        grads = tree(step + 1)
        ours, mine = optim.update(grads, mine, ours, rate, decay, b2, clip=clip)
        updates, state = reference.update(grads, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), ours, theirs)


def test_rates_and_decays_may_differ_by_row():
    run = jax.vmap(lambda rate: optim.update(tree(1), optim.init(tree(0), False), tree(0), rate, 0.0, 0.999)[0])
    many = run(jnp.asarray([0.0, 0.1]))
    np.testing.assert_array_equal(many["b"][0], tree(0)["b"])
    np.testing.assert_allclose(many["b"][1], tree(0)["b"] - 0.1 * np.sign(tree(1)["b"]), rtol=1e-4)


def test_the_average_follows_its_recursion():
    params, state = tree(0), optim.init(tree(0), keep_average=True)
    average = params
    for step in range(3):
        params, state = optim.update(tree(step + 1), state, params, 0.1, 0.0, 0.9, average=0.8)
        average = jax.tree.map(lambda a, p: 0.8 * a + (1 - 0.8) * p, average, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), state.average, average)


def test_frozen_parameters_stay_while_their_moments_move():
    free = train.trainable(tree(0), "a/")
    assert free == {"a": {"kernel": False}, "b": True}
    moved, state = optim.update(tree(1), optim.init(tree(0), False), tree(0), 0.1, 0.1, 0.9, trainable=free)
    np.testing.assert_array_equal(moved["a"]["kernel"], tree(0)["a"]["kernel"])
    assert (np.array(moved["b"]) != tree(0)["b"]).all()
    assert (np.array(state.adam.mu["a"]["kernel"]) != 0).all()
    for pattern in ("nothing", "."):
        with pytest.raises(InputError, match="must match some parameters and leave some"):
            train.trainable(tree(0), pattern)


def test_schedules_at_their_corners():
    at = lambda i, *args: float(optim.unit_schedule(jnp.int32(i), *args))  # noqa: E731
    assert [at(i, "constant", 0, 10) for i in (0, 5, 10**6)] == [1, 1, 1]
    np.testing.assert_allclose([at(i, "constant", 4, 10) for i in range(6)], [0.25, 0.5, 0.75, 1, 1, 1])
    np.testing.assert_allclose([at(i, "cosine", 0, 100) for i in (0, 50, 100, 200)], [1, 0.505, 0.01, 0.01], rtol=1e-5)
    assert at(9, "cosine", 10, 100) == 1


def test_half_the_average_of_a_sweep_is_used_in_evaluation():
    config = Config(steps=30, average=0.9)
    result = sweep.run(Regression(), [(config, sweep.grid(Regression(), seed=[0]))])
    (replica,) = result.states.values()
    told = result.table.query("metric == 'distance' and step == 30 and split == 'test'")["value"].item()
    np.testing.assert_allclose(told, np.abs(replica.state.optim.average["w"] - 1).max(), rtol=1e-6)
    assert told > np.abs(replica.state.params["w"] - 1).max()


def test_cka_is_1_up_to_rotation_0_for_orthogonal_features_and_undefined_for_constants(key):
    x = jax.random.normal(key, (50, 4))
    turn, _ = jnp.linalg.qr(jax.random.normal(jax.random.key(1), (4, 4)))
    np.testing.assert_allclose(probes.cka(x, 3 * jnp.matmul(x, turn) + 2).value(), 1, rtol=1e-5)
    waves = jnp.stack([jnp.sin(2 * jnp.pi * k * jnp.arange(50) / 50) for k in (1, 2, 3, 4)], axis=1)
    assert probes.cka(waves[:, :2], waves[:, 2:]).value() < 1e-9
    assert probes.cka(x, jnp.ones((50, 2))).weight == 0
    gram = lambda a: (a - a.mean(0)) @ (a - a.mean(0)).T  # noqa: E731
    a, b = gram(np.array(x)), gram(np.array(x[:, :2]))
    np.testing.assert_allclose(
        probes.cka(x, x[:, :2]).value(), (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b), rtol=1e-5
    )


def test_cosine_of_trees():
    a = {"x": jnp.array([3.0, 0.0]), "y": jnp.array(4.0)}
    b = {"x": jnp.array([0.0, 5.0]), "y": jnp.array(12.0)}
    np.testing.assert_allclose(probes.cosine(a, b).value(), 48 / (5 * 13), rtol=1e-6)
    np.testing.assert_allclose(probes.cosine(a, jax.tree.map(jnp.negative, a)).value(), -1, rtol=1e-6)
    assert probes.cosine(a, jax.tree.map(jnp.zeros_like, a)).weight == 0
