"""What the experiment on the synchronisation gap measures, to the number: by plain loops, and on curves made so."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sync_gap, sync_gap_measure, sync_gap_report, sync_gap_verdicts
from experiments.sync_gap_verdicts import ARMS, CONTROL, NATURAL, PARTS, STRONG, Coupling
from gidd_jax import analysis, export, replica
from gidd_jax.config import to_json
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap_theory
from tests.test_syncgap_values import (
    IMAGE,
    SHAPE,
    cosine_energies,
    cosines,
    features,
    followed,
    model,
    parted,
    seen_by_the_study,
    unit_modes,
)

STEPS, PAIRS, UNTIL = 6, 6, (0, 1, 2, 4, 5, 6)
SLICES = [0, 1, 2, 4, 5, 5]


def decode(x):
    return jnp.concatenate([x, jnp.square(x)], axis=-3)


def look(eyes, x):
    return x.reshape(*x.shape[:-3], -1) - eyes


@functools.cache
def programs():
    maker = sync_gap_measure.Maker(SHAPE, STEPS, 0.5, 3, look, theory=True, decode=decode)
    plan = sync_gap_measure.Plan(PAIRS, len(UNTIL), sets=2, couplings=(NATURAL, STRONG))
    return maker, plan, sync_gap_measure.programs(maker, plan)


@functools.cache
def measured(kind):
    subject = sync_gap_measure.Subject(0, model(), jnp.float32(0.5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sync_gap_measure, "BAND", 2)
        return sync_gap_measure.measured(*programs(), subject, kind)


# ---------------------------------------------------------------- both protocols of one model


@pytest.mark.slow
@pytest.mark.parametrize("kind", [1, None])
def test_curves_are_those_of_decoded_images(kind):
    found, label = measured(kind), 3 if kind is None else kind
    first = replicas.start(jax.random.key(1), (PAIRS, *IMAGE), 0.5)

    def wanted(until, coupling, shared, others=slice(None)):
        g = jnp.asarray(coupling.by_layer(3), jnp.float32)
        made = parted(jax.random.key(2), model(), label, first, STEPS, 1.0, until, g, shared)
        a, b = np.concatenate([made, np.square(made)], axis=2)
        b = b[others]
        cosine = cosines(*(x.reshape(PAIRS, -1) - 0.5 for x in (a, b)))
        return dict(
            zip(("coarse", "fine", "feature_cosine"), (*replica.scale_discrepancy(a, b, 3), cosine), strict=True)
        )

    def same(told, scales):
        for scale, value in scales.items():
            np.testing.assert_allclose(told(scale), value, rtol=2e-3, atol=1e-4, err_msg=scale)

    for arm, how in ARMS.items():
        for t, until in enumerate(UNTIL):
            same(lambda scale, arm=arm, t=t: found.curves[scale][arm][:, t], wanted(until, *how))
    same(lambda scale: found.curves[scale]["strangers"], wanted(0, Coupling(0.0), False, [5, 0, 1, 2, 3, 4]))
    for part in PARTS:
        same(lambda scale, part=part: found.ends[scale][part], wanted(STEPS, Coupling(1.0, part), False))


@pytest.mark.parametrize("coupling", [NATURAL, STRONG], ids=str)
def test_pairs_held_out_are_followed_along_the_modes_of_what_each_block_reads(coupling):
    """Modes of the first set by eigenvectors of its Gram, amplitudes of the second by products with plain states."""
    first = replicas.start(jax.random.key(3), (2 * PAIRS, *IMAGE), 0.5)
    g = jnp.asarray(coupling.by_layer(3), jnp.float32)
    images, apart = followed(model(), 1, first, g, replicas.path(str(STEPS)))
    flat = apart.reshape(STEPS, 4, 2 * PAIRS, 72)
    grams = np.einsum("slmd,lnd->lsmn", flat[:, 1:], flat[0, 1:])
    own, u = np.linalg.eigh(np.einsum("lmd,lnd->lmn", flat[0, :3, :PAIRS], flat[0, :3, :PAIRS]))
    chosen = [-1, -2, 1, 0]  # the two of most energy, then the two of least, falling
    modes = np.einsum("lmk,lmd->lkd", u[..., chosen], flat[0, :3, :PAIRS]) / np.sqrt(own[:, chosen])[..., None]
    before, after = (np.einsum("slmd,lkd->slkm", flat[SLICES, at : at + 3, PAIRS:], modes) for at in (0, 1))
    of = measured(1).theory[coupling]
    sign = np.sign((of.amplitudes.before * before).sum((0, 3), keepdims=True))
    np.testing.assert_allclose(sign * of.amplitudes.before, before, rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(sign * of.amplitudes.after, after, rtol=1e-4, atol=2e-3)
    modes = jnp.asarray(modes.reshape(3, 4, 9, 8), jnp.float32)
    x = jnp.asarray(images[4, 0, :8])
    terms = block_terms(model(), x, replicas.path(str(STEPS)).times[4], coupling.g, modes)
    for name in ("chi", "pi", "feed"):
        np.testing.assert_allclose(getattr(of.terms, name)[3], getattr(terms, name), atol=2e-3)
    ratios = measured(1).ratios[coupling]
    np.testing.assert_allclose(ratios.held_out, analysis.mode_gaps(grams, 2).held_out, rtol=1e-3)
    coarse, fine = cosine_energies(apart[:, 1:])
    np.testing.assert_allclose(ratios.cosine, ((fine / fine[:1]) / (coarse / coarse[:1])).T, rtol=1e-3)


@jax.jit
def block_terms(params, x, t, g, modes):
    return syncgap_theory.block_terms(params, SHAPE, x, t, 1, g, modes)


def test_pairs_that_parted_are_seen_along_the_modes_of_what_each_block_reads():
    first, modes = replicas.start(jax.random.key(6), (2 * PAIRS, *IMAGE), 0.5), unit_modes(3)
    found = programs()[2].ended(model(), jnp.int32(2), first, modes)
    for t, until in enumerate(UNTIL):
        made = parted(jax.random.key(2), model(), 2, first, STEPS, 1.0, until, jnp.zeros(3), True)
        last = jax.tree.map(lambda x: x[-1:], replicas.path(str(STEPS)))
        apart = followed(model(), 2, made, jnp.zeros(3), last)[1][0]
        wanted = np.einsum("lmsd,lksd->lkm", apart[:3], modes)
        np.testing.assert_allclose(found[t], wanted, rtol=1e-4, atol=1e-3)


def test_leading_modes_have_the_most_energy_and_trailing_ones_the_least():
    """Directions that are known, other ones in each layer and in no order."""
    rng, spectrum = np.random.default_rng(0), np.array([2.0, 7.0, 1.0, 5.0, 3.0, 4.0])
    u = np.linalg.qr(rng.normal(size=(2, 6, 6)))[0]
    v = np.moveaxis(np.linalg.qr(rng.normal(size=(2, 12, 6)))[0], 1, 2)
    found = sync_gap_measure.leading_and_trailing(np.einsum("lmk,k,lkd->lmd", u, spectrum, v).reshape(2, 6, 4, 3), 2)
    overlap = np.einsum("lad,lbd->lab", np.asarray(found).reshape(2, 4, 12), v)
    np.testing.assert_allclose(np.abs(overlap), np.broadcast_to(np.eye(6)[[1, 3, 0, 2]], (2, 4, 6)), atol=1e-5)


def test_features_of_the_experiment_are_centred():
    params, data = seen_by_the_study()
    x = np.random.default_rng(0).normal(size=(2, 5, *IMAGE)).astype(np.float32)
    found = sync_gap.looked((params["encoder"], {"train": jnp.asarray(data["train"])}), jnp.asarray(x))
    centre = features(params["encoder"], data["train"][:1024]).mean(0)
    wanted = features(params["encoder"], x).reshape(2, 5, -1) - centre[None, None]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_an_imported_model_is_decoded_and_seen_by_what_the_user_names(tmp_path):
    export.save(tmp_path, model(), {"model": "dit_image", "config": to_json(SHAPE)})
    x = jnp.arange(24.0).reshape(2, 3, 1, 2, 2)
    maker, _ = sync_gap.imported(tmp_path, "jax.numpy:sin", "jax.numpy:cos")
    np.testing.assert_array_equal(maker.decode(x), jnp.sin(x))
    np.testing.assert_array_equal(maker.look(None, x), jnp.cos(x))
    plain, _ = sync_gap.imported(tmp_path)
    np.testing.assert_array_equal(plain.decode(x), x)
    np.testing.assert_array_equal(plain.look(None, x), x.reshape(2, 3, 4))


# ---------------------------------------------------------------- statistics


def test_coarse_and_fine_curves_are_resampled_together(monkeypatch):
    """Pairs commit from step 10 to 40, fine scales 3 steps after coarse ones: the gap is sure, neither of them is."""
    monkeypatch.setattr(sync_gap_verdicts, "RESAMPLES", 100)
    at, middles = np.arange(0.0, 61.0, 3.0), np.random.default_rng(0).uniform(10, 40, size=(32, 1))
    fall = lambda middle: 1 / (1 + np.exp((at[None] - middle) / 3))  # noqa: E731
    curves = {"coarse": {CONTROL: fall(middles)}, "fine": {CONTROL: fall(middles + 3)}}
    found = sync_gap_verdicts.hierarchy(types.SimpleNamespace(until=at, curves=curves), CONTROL)
    alone = analysis.midpoint(at, curves["coarse"][CONTROL], sync_gap_verdicts.resamples(32), False)
    assert alone.high - alone.low > 5
    assert found.value == pytest.approx(3, abs=0.2) and found.word == "holds"
    assert 2.5 < found.low < found.high < 3.5


def test_growth_along_the_path_is_in_doublings():
    """Of a spread that every block multiplies by its eta, predicted and measured growth are one number."""
    eta = np.exp2(np.random.default_rng(0).integers([-2, 0], [1, 3], size=(4, 3, 2)))
    spread = np.concatenate([np.ones((1, 2)), np.cumprod(eta.reshape(12, 2), axis=0)[:-1]]).reshape(4, 3, 2)
    amplitudes = types.SimpleNamespace(before=spread[..., None] * np.array([1.0, -1.0]))
    of = types.SimpleNamespace(steps=np.arange(4), eta=eta, amplitudes=amplitudes)
    wanted = np.log2(eta).sum((0, 1)) - np.log2(eta[-1, -1])
    assert np.abs(wanted).min() >= 1
    np.testing.assert_allclose(sync_gap_report.along_path(of), wanted)
    np.testing.assert_allclose(sync_gap_report.grown(of), wanted)
    # Measured at the first and the last of five steps, log2 eta is 0, 1, 2, 3, 4, of which the last does not count.
    sparse = types.SimpleNamespace(steps=np.array([0, 4]), eta=np.exp2([[[0.0]], [[4.0]]]))
    np.testing.assert_allclose(sync_gap_report.along_path(sparse), 0 + 1 + 2 + 3)
