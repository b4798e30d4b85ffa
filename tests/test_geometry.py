"""Ranks, angles and correlations against numpy in float64, scipy, and sets whose geometry is known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from gidd_jax import geometry

STATIC = {"effective_rank": "centred", "ridge_accuracy": "classes"}
NAMES = "geometry pooled effective_rank dims rankme participation_ratio slot_cosines".split()
NAMES += "cosine_similarity ranks pearson spearman ridge_accuracy".split()
g = types.SimpleNamespace(
    **{name: jax.jit(getattr(geometry, name), static_argnames=STATIC.get(name)) for name in NAMES}
)

USED = np.array([False, True, True, False, True, True])


def singular(matrix, centred):
    matrix = np.float64(matrix)
    return np.linalg.svd(matrix - matrix.mean(0) if centred else matrix, compute_uv=False)


def entropy_rank(values):
    return np.exp(stats.entropy(values))


@pytest.fixture(scope="module")
def samples():
    """Samples with a mean, slots out of use that hold NaN, and a spectrum that falls."""
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(7, len(USED), 5)) * [3, 2, 1, 0.5, 0.1] + rng.normal(size=5)).astype(np.float32)
    z[:, ~USED] = np.nan
    return z


def test_every_measure_equals_numpy_on_the_slots_in_use(samples):
    measured = g.geometry(samples, USED)
    z = np.float64(samples[:, USED])
    mean, vectors, rows = z.mean(0), z.mean(1), z.reshape(-1, z.shape[-1])
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)
    cosines = np.concatenate([(u @ u.T)[~np.eye(len(u), dtype=bool)] for u in unit])
    pairs = np.triu_indices(len(z), 1)
    covariance = np.cov(rows.T)
    energy = np.cumsum(singular(mean, False) ** 2)
    expected = {
        "effective_rank": singular(mean, False).sum() / singular(mean, False)[0],
        "effective_rank_centred": singular(mean, True).sum() / singular(mean, True)[0],
        "entropy_rank": entropy_rank(singular(mean, False)),
        "dims_95": 1 + np.sum(energy < 0.95 * energy[-1]),
        "rankme": entropy_rank(singular(vectors, True)),
        "rankme_within": np.mean([entropy_rank(singular(sample, False)) for sample in z]),
        "rankme_within_centred": np.mean([entropy_rank(singular(sample, True)) for sample in z]),
        "participation_ratio": np.trace(covariance) ** 2 / np.trace(covariance @ covariance),
        "slot_cosine": np.abs(cosines).mean(),
        "slot_cosine_max": cosines.max(),
        "anisotropy": (1 - cdist(vectors, vectors, "cosine"))[pairs].mean(),
        "slot_std": z.std(axis=0, ddof=1).mean(),
    }
    assert set(measured) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(measured[name], value, rtol=2e-5, err_msg=name)


def test_a_random_matrix_has_effective_rank_83_and_a_shared_offset_hides_it():
    rng = np.random.default_rng(1)
    noise, shared = rng.normal(size=(128, 512)), rng.normal(size=512)
    everyone = np.ones(128, bool)
    # Means of 60 draws in numpy, and three standard deviations of one.
    for cosine, seen, within in ((0.0, 83.3, 2.1), (0.2, 22.5, 1.7), (0.5, 11.9, 0.9), (0.8, 6.5, 0.5)):
        matrix = (noise + np.sqrt(cosine / (1 - cosine)) * shared).astype(np.float32)
        np.testing.assert_allclose(g.slot_cosines(matrix[None], everyone)[0], max(cosine, 0.035), atol=0.02)
        np.testing.assert_allclose(g.effective_rank(matrix, everyone, centred=False), seen, atol=within)
    np.testing.assert_allclose(g.effective_rank(matrix, everyone, centred=True), 82.7, atol=2.1)


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_k_equal_directions_have_rank_k(shape):
    q, _ = np.linalg.qr(np.random.default_rng(2).normal(size=shape))
    q = q if shape[0] > shape[1] else np.linalg.qr(np.random.default_rng(2).normal(size=shape[::-1]))[0].T
    everyone = np.ones(shape[0], bool)
    side = min(shape)
    np.testing.assert_allclose(g.effective_rank(np.float32(q), everyone, centred=False), side, rtol=1e-5)
    for k in (1, 3, 5):
        # k directions of equal variance, each met with both signs: centred as they are.
        rows = np.zeros(shape, np.float32)
        rows[np.arange(2 * k), np.arange(2 * k) % k] = np.repeat([1, -1], k)
        rows[2 * k :] = np.nan
        counted = np.arange(shape[0]) < 2 * k
        np.testing.assert_allclose(g.rankme(rows, counted), k, rtol=1e-5)
        np.testing.assert_allclose(g.participation_ratio(rows, counted), k, rtol=1e-5)
        np.testing.assert_allclose(g.dims(rows, counted), k)


def test_what_has_collapsed_has_no_rank_left_not_that_of_rounding():
    rng = np.random.default_rng(3)
    once = (10 + rng.normal(size=32)).astype(np.float32)
    slots = np.ones(8, bool)
    same = g.geometry(np.tile(once, (300, 8, 1)), slots)
    for name in ("effective_rank_centred", "rankme", "rankme_within_centred", "participation_ratio"):
        assert same[name] == 0, name
    for name in ("effective_rank", "entropy_rank", "dims_95", "rankme_within", "slot_cosine", "anisotropy"):
        np.testing.assert_allclose(same[name], 1, rtol=1e-5, err_msg=name)
    assert same["slot_std"] == 0
    # The last bit of some: as alike as float32 can say.
    bits = np.where(rng.random((300, 8, 32)) < 0.5, once, np.nextafter(once, np.float32(99)))
    bits = g.geometry(bits, slots)
    for name in ("effective_rank_centred", "rankme", "rankme_within_centred", "participation_ratio"):
        assert bits[name] == 0, name
    # One direction of spread, a thousandth of what is shared.
    line = once + 0.01 * rng.normal(size=(300, 1, 1)) * rng.normal(size=32)
    spread = g.geometry(np.tile(line, (1, 8, 1)).astype(np.float32), slots)
    np.testing.assert_allclose([spread["rankme"], spread["participation_ratio"]], 1, atol=0.02)
    nothing = g.geometry(np.zeros((300, 8, 32), np.float32), slots)
    assert all(np.isfinite(value) for value in nothing.values())


def test_pooling_takes_the_slots_in_use(samples):
    np.testing.assert_allclose(g.pooled(samples, USED), samples[:, USED].mean(1), rtol=1e-5, atol=1e-6)


def test_ranks_and_correlations_are_scipys():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 20, 200).astype(np.float32)
    y = (0.5 * x + 4 * rng.normal(size=200)).astype(np.float32)
    tied = np.round(y)
    for values in (x, y, tied):
        np.testing.assert_array_equal(g.ranks(values), stats.rankdata(values))
    np.testing.assert_allclose(g.pearson(x, y + 100), stats.pearsonr(x, y)[0], rtol=1e-4)
    np.testing.assert_allclose(g.spearman(x, g.ranks(tied)), stats.spearmanr(x, tied)[0], rtol=1e-5)
    assert np.isnan(g.pearson(np.full(200, 0.1, np.float32), y))
    assert np.isnan(g.spearman(y, np.full(200, 100.5, np.float32)))


def test_cosine_similarity_is_numpys_and_0_with_nothing():
    rows = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
    rows[2] = 0
    alike = np.asarray(g.cosine_similarity(rows))
    np.testing.assert_array_equal(alike[2], 0)
    kept = np.delete(rows, 2, 0)
    np.testing.assert_allclose(np.delete(np.delete(alike, 2, 0), 2, 1), 1 - cdist(kept, kept, "cosine"), atol=1e-6)


def test_the_ridge_probe_equals_numpys_least_squares():
    rng = np.random.default_rng(6)
    centres = rng.normal(size=(3, 8))
    labels = rng.integers(0, 3, 400)
    x = (centres[labels] + 1.5 * rng.normal(size=(400, 8))) * [1, 1e-3, 50, 1, 1, 1, 1, 1] + 20
    x = x.astype(np.float32)
    # A constant, but for a last bit that would tell all.
    x[:, 7] = np.where(labels == 0, np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1)))
    train, test = slice(0, 250), slice(250, None)
    for penalty in (0.01, 1.0, 100.0):
        scale = np.where(np.arange(8) == 7, 1, np.float64(x[train]).std(0))
        scaled = (np.float64(x) - np.float64(x[train]).mean(0)) / scale
        scaled[:, 7] = 0
        onehot = np.eye(3)[labels[train]]
        # The penalty as 8 more rows of a plain least-squares problem.
        rows = np.concatenate([scaled[train], np.sqrt(250 * penalty) * np.eye(8)])
        weight = np.linalg.lstsq(rows, np.concatenate([onehot - onehot.mean(0), np.zeros((8, 3))]), rcond=None)[0]
        named = np.argmax(scaled[test] @ weight + onehot.mean(0), axis=1)
        accuracy = g.ridge_accuracy(x[train], labels[train], x[test], labels[test], classes=3, penalty=penalty)
        np.testing.assert_allclose(accuracy, np.mean(named == labels[test]), atol=1e-6)
    blind = g.ridge_accuracy(0 * x[train], labels[train], 0 * x[test], labels[test], classes=3, penalty=0.1)
    common = np.argmax(np.bincount(labels[train]))
    np.testing.assert_allclose(blind, np.mean(labels[test] == common), atol=1e-6)


def test_nothing_waits_for_lapack():
    """Batches decomposed by LAPACK on two host devices at once never end (jaxlib 0.10.2)."""
    z = jnp.zeros((3, 4, 5))

    def everything(z):
        probe = geometry.ridge_accuracy(z[:, 0], jnp.arange(3), z[:, 1], jnp.arange(3), 3, 0.1)
        return geometry.geometry(z, jnp.ones(4, bool)), probe

    assert "lapack" not in jax.jit(everything).lower(z).as_text()


@pytest.mark.parametrize("shape", [(1, 5), (3, 2), (5, 5), (2, 6, 9)])
def test_singular_values_are_those_of_numpy(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found = jax.jit(geometry.singular_values)(x)
    np.testing.assert_allclose(found, np.linalg.svd(x.astype(float), compute_uv=False), atol=3e-6)
