"""Two protocols of pairs of replicas: couplings that end, held to what is exact; energies by layer to plain ones."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax.analysis import internal
from gidd_jax.errors import InputError
from gidd_jax.sampling import replicas

GOLDEN = pathlib.Path(__file__).parent / "golden" / "sync_modes.npz"

# ---------------------------------------------------------------- protocol I


def pulled_together(x, t, g):
    """A toy in place of a model: a replica's noise is .3 of the mean of its image and g times the other's."""
    g = g.reshape(1, -1, 1, 1, 1)
    return 0.3 * (x + g * x[::-1]) / (1 + g)


PATH = replicas.path("6")
run = jax.jit(lambda first, rows, eta: replicas.forked(jax.random.key(7), pulled_together, first, PATH, rows, eta))


def rows(until, g=0.0, shared=False, pull=0.0):
    """Three rows; one compiled program serves all tests."""
    return replicas.branches(jnp.asarray(until), g, shared, pull)


def starts(sigma):
    return replicas.start(jax.random.key(0), (3, 1, 4, 4), jnp.float32(sigma))


def test_steps_start_at_noise_and_end_at_the_image():
    path = jax.tree.map(np.asarray, PATH)
    assert path.times[0] == 999 and path.times[-1] == 0 and path.abar_next[-1] == 1
    np.testing.assert_array_equal(path.abar[1:], path.abar_next[:-1])
    assert (np.diff(path.abar) > 0).all()


def test_what_is_shared_until_the_end_stays_equal_and_the_rest_does_not():
    made = np.asarray(run(starts(0.0), rows([0, 3, 6], 0.5, True), 1.0))
    np.testing.assert_array_equal(made[2, 0], made[2, 1])
    apart = np.abs(made[:, 0] - made[:, 1]).mean((1, 2, 3, 4))
    assert apart[0] > apart[1] > 0.1 and apart[2] == 0
    # Own noise from the start is own noise whatever the coupling was to be.
    alone = np.asarray(run(starts(0.0), rows([0, 3, 6]), 1.0))
    np.testing.assert_array_equal(made[0], alone[0])
    # A row is the same whatever rows stand beside it.
    np.testing.assert_array_equal(run(starts(0.0), rows([5, 3, 1], 0.5, True), 1.0)[1], made[1])


@pytest.mark.slow
def test_pairs_in_turn_are_pairs_at_once():
    x, g = jax.random.normal(jax.random.key(0), (2, 6, 1, 4, 4)), jnp.linspace(0.0, 1.0, 6)
    found = replicas.in_turn(pulled_together, 2)(x, jnp.int32(0), g)
    np.testing.assert_allclose(found, pulled_together(x, jnp.int32(0), g), atol=1e-6)
    of_last = lambda x, t, g: pulled_together(x, t, g[-1])  # noqa: E731
    layered = replicas.in_turn(of_last, 2)(x, jnp.int32(0), jnp.stack([0 * g, g]))
    np.testing.assert_array_equal(layered, found)


def test_rows_may_couple_layers_apart():
    """Of a model that reads the coupling of its last layer alone."""
    first, of_last = starts(1.0), lambda x, t, g: pulled_together(x, t, g[-1])

    @jax.jit
    def made(rows):
        return replicas.forked(jax.random.key(7), of_last, first, PATH, rows, 0.0)

    by_layer = lambda g: replicas.branches(jnp.asarray([0, 2, 6]), jnp.asarray(g))  # noqa: E731
    apart, wanted = run(first, rows([0, 2, 6], 0.0), 0.0), run(first, rows([0, 2, 6], 0.5), 0.0)
    np.testing.assert_allclose(made(by_layer([0.0, 0.0, 0.5])), wanted, rtol=1e-5)
    np.testing.assert_allclose(made(by_layer([0.5, 0.5, 0.0])), apart, rtol=1e-5)


def test_coupling_acts_until_its_step_and_no_longer():
    """Without noise the toy is linear: A - B is multiplied by a known factor each step."""
    first = starts(1.0)
    made, path = run(first, rows([0, 2, 6], 0.5), 0.0), jax.tree.map(np.asarray, PATH)
    for row, until in zip(np.asarray(made), (0, 2, 6), strict=True):
        d = np.asarray(first[0] - first[1], np.float64)
        for s in range(6):
            now, then = float(path.abar[s]), float(path.abar_next[s])
            eps = 0.3 * ((1 - 0.5) / (1 + 0.5) if s < until else 1.0) * d
            d = np.sqrt(then / now) * (d - np.sqrt(1 - now) * eps) + np.sqrt(1 - then) * eps
        np.testing.assert_allclose(row[0] - row[1], d, rtol=1e-3, atol=1e-4 * np.abs(d).max())
    # A restoring force shrinks the difference, the longer the more.
    forced = np.asarray(run(first, rows([0, 2, 6], 0.0, False, 0.5), 0.0))
    apart = np.abs(forced[:, 0] - forced[:, 1]).mean((1, 2, 3, 4))
    assert apart[0] > 1.5 * apart[1] > 2 * apart[2]


# ---------------------------------------------------------------- protocol II


def test_in_sample_ratios_are_those_of_the_plain_energies():
    with np.load(GOLDEN, allow_pickle=False) as file:
        V, band, ratio = file["modes_V"], int(file["modes_band"]), file["modes_Gint"]
    grams = np.einsum("smd,nd->smn", V, V[0])
    found = internal.mode_gaps(grams, 1, band)
    np.testing.assert_allclose(found.in_sample, ratio, rtol=1e-6)
    assert np.isnan(found.held_out).all() and np.isnan(found.null).all()
    with pytest.raises(InputError, match="16 seeds do not divide into 3 sets"):
        internal.mode_gaps(grams, 3)


def forgetting(D, memory, sets=24, M=32):
    """V_s = a V_0 + sqrt(1 - a^2) noise, isotropic: no mode is selected."""
    rng = np.random.default_rng(D)
    V0 = rng.normal(size=(sets * M, D))
    V = np.stack([a * V0 + np.sqrt(1 - a**2) * rng.normal(size=V0.shape) for a in (1.0, *memory)])
    return np.einsum("smd,nd->smn", V, V0)


def test_the_papers_estimator_is_biased_and_the_held_out_one_is_not():
    """Values for D = 64, M = 32 of an independent simulation: 6.8 at a = .5, 16.8 at 0."""
    small, large = forgetting(64, (0.5, 0.0)), forgetting(1024, (0.5, 0.0))
    found = internal.mode_gaps(small, 24)
    np.testing.assert_allclose(found.in_sample, [1, 6.8, 16.8], rtol=0.1)
    np.testing.assert_allclose(found.held_out, 1.0, atol=0.04)
    np.testing.assert_allclose(found.null[-1], found.in_sample[-1], rtol=0.1)
    wide = internal.mode_gaps(large, 24)
    # Fresh noise has energy 1 along every direction: the ratio is one of eigenvalues alone. Of 24 sets, each with the
    # chi-square of 2 x 128 degrees of freedom: a standard error of .06, 3 of which are granted.
    w = [np.linalg.eigvalsh(large[0, i : i + 32, i : i + 32]) / 1024 for i in range(0, 768, 32)]
    by_hand = np.mean([1 / each[:4] for each in w]) / np.mean([1 / each[-4:] for each in w])
    np.testing.assert_allclose(wide.in_sample[-1], by_hand, atol=0.2)
    np.testing.assert_allclose(wide.held_out, 1.0, atol=0.02)
    for grams, D in ((small, 64), (large, 1024)):
        assert internal.effective_dimension(grams[0]) == pytest.approx(D, rel=0.02)
    assert wide.in_sample[-1] < internal.expected_inflation(32, 1024.0) < 2.1
    assert internal.expected_inflation(32, 32.0) == np.inf


def test_a_mode_that_is_selected_is_seen_held_out():
    """Energies of trailing directions kept, of leading ones halved: the ratio is 2, whoever measures."""
    rng = np.random.default_rng(0)
    lead = np.arange(60) < 4
    V0 = rng.normal(size=(640, 60)) * np.where(lead, 10.0, 1.0)
    grams = np.einsum("smd,nd->smn", np.stack([V0, V0 * np.where(lead, np.sqrt(0.5), 1.0)]), V0)
    assert internal.mode_gaps(grams, 4, 4).held_out[1] == pytest.approx(2.0, rel=0.05)


@pytest.mark.slow
def test_watching_streams_what_full_states_would_give():
    layers, path = 2, replicas.path("2")
    mix = jax.random.normal(jax.random.key(0), (layers, 2, 2)) / 2

    def denoise(x, t, watch, beside):
        tokens = x.reshape(*x.shape[:2], 4, -1)  # a square of 2 x 2 tokens
        states = [tokens + jnp.einsum("rbsd,de->rbse", jnp.tanh(tokens), m) for m in mix]
        seen = [watch(h, None if beside is None else beside[l]) for l, h in enumerate(states)]
        return 0.2 * x, jax.tree.map(lambda *each: jnp.stack(each), *seen)

    first = replicas.start(jax.random.key(1), (5, 2, 2, 2), 0.5)
    found = jax.jit(lambda first: replicas.watched(denoise, first, path))(first)
    assert found.grams.shape == (2, layers, 5, 5) and found.bands.shape == (2, layers, 2, 5)
    difference = lambda h, _: (h[0] - h[1]) / 2**0.5  # noqa: E731
    V0 = np.asarray(denoise(first, 0, difference, None)[1])
    np.testing.assert_allclose(found.grams[0], np.einsum("lmsd,lnsd->lmn", V0, V0), rtol=1e-4, atol=1e-5)
    # At the first step the state of x_1 follows from x_0 by hand.
    now, then = path.abar[0], path.abar_next[0]
    x1 = jnp.sqrt(then / now) * (first - jnp.sqrt(1 - now) * 0.2 * first) + jnp.sqrt(1 - then) * 0.2 * first
    V1 = np.asarray(denoise(x1, 0, difference, None)[1])
    np.testing.assert_allclose(found.grams[1], np.einsum("lmsd,lnsd->lmn", V1, V0), rtol=1e-4, atol=1e-4)


def test_cosine_bands_tell_smooth_from_rough():
    side = 6
    smooth, rough = np.ones((side, side)), (-1.0) ** np.add.outer(np.arange(side), np.arange(side))
    V = jnp.asarray(np.stack([smooth, rough]).reshape(2, side**2, 1), jnp.float32)
    low, high = np.asarray(replicas.cosine_bands(V))
    np.testing.assert_allclose(low[0], side**2, rtol=1e-5)
    assert high[0] < 1e-8 and low[1] < 0.05 * side**2 < 0.8 * high[1]
    # The three thirds of an orthonormal basis hold all there is.
    noise = jax.random.normal(jax.random.key(0), (200, side**2, 3))
    parts = np.asarray(replicas.cosine_bands(noise)).sum(1)
    np.testing.assert_allclose(parts / float(jnp.square(noise).sum()), 1 / 3, atol=0.01)
