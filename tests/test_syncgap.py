"""Pairs of replicas: protocols held to what is exact, energies by layer to the plain ones, the study."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gidd_jax import analysis, cli, plotting_pairs, replica, sweep
from gidd_jax.analysis import internal
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap, syncgap_theory

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


# ---------------------------------------------------------------- the linear theory on a model


@pytest.mark.slow
def test_paths_of_every_block_add_up_and_fixed_weights_route_alone():
    shape = dit_image.DitImageConfig(4, classes=2, layers=3, d_model=8, heads=2)
    fresh = dit_image.init(jax.random.key(0), shape)
    # adaLN-Zero starts with all gates shut: open them.
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), fresh)
    modes = jax.random.normal(jax.random.key(1), (3, 3, 4, 8))
    modes = modes / jnp.sqrt(jnp.square(modes).sum((2, 3), keepdims=True))
    x = jax.random.normal(jax.random.key(2), (2, 1, 4, 4))
    terms = jax.jit(lambda params, g: syncgap_theory.block_terms(params, shape, x, 500, 1, g, modes))
    apart, joined = (jax.tree.map(np.asarray, terms(params, jnp.float32(g))) for g in (0.0, 1.0))
    assert apart.error.max() < 1e-5 and joined.error.max() < 1e-5
    np.testing.assert_allclose(apart.chi, joined.chi, atol=1e-6)
    assert np.abs(apart.pi).min() > 1e-5 and np.abs(apart.feed - joined.feed).max() < 1e-6
    # Keys and queries that see nothing: all weights are even whatever comes, and nothing is left of their path.
    qkv = params["blocks"]["qkv"]
    blind = {name: value.at[..., :16].set(0.0) for name, value in qkv.items()}
    even = jax.tree.map(np.asarray, terms(params | {"blocks": params["blocks"] | {"qkv": blind}}, jnp.float32(0.3)))
    np.testing.assert_allclose(even.pi, 0, atol=1e-6)
    assert np.abs(even.chi).max() > 1e-3


# ---------------------------------------------------------------- what the table says


def test_midpoints_have_the_published_intervals_and_refusals_are_counted():
    with np.load(GOLDEN.parent / "sync_sigmoid.npz", allow_pickle=False) as file:
        t, seeds, idx, wanted = (file[f"sig_{name}"] for name in ("t", "seeds", "boot_idx", "boot_ci95"))
    for y, interval in zip(seeds, wanted, strict=True):
        found = analysis.midpoint(t, y, idx)
        np.testing.assert_allclose([found.low, found.high], interval, atol=0.2)
        assert found.low < found.step < found.high and found.refused == 0
    flat = np.random.default_rng(0).normal(size=seeds[0].shape)
    nothing = analysis.midpoint(t, flat, idx)
    assert np.isnan(nothing.step) and np.isnan(nothing.low) and nothing.refused > 0.9


def made_table():
    """Commitment of coarse scales at .3 of the path under the control, of fine ones at .7; coupled pairs never."""
    lines = []
    at = np.linspace(0, 1, 11)
    for g, seed in ((0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1)):
        own = dict(row=f"{g}{seed}", group="g0", g=g, seed=seed, step=9, split="pairs")
        for scale, where in (("coarse", 0.3), ("fine", 0.7)):
            rise = 1 / (1 + np.exp(-(at - where) / 0.05))
            for name, curve in (
                (scale, np.ones(11)),
                (f"control_{scale}", 1 - rise),
                (f"stranger_{scale}", np.ones(11)),
            ):
                lines += [own | dict(metric=f"{name}/fork", bin=b, value=7 * v) for b, v in enumerate(curve)]
        lines += [own | dict(metric="cosine_gap/layer", bin=b, value=1.0 + b) for b in range(3)]
        for name, value in (("noise_error", 0.1), ("encoder_accuracy", 0.9)):
            lines.append(own | dict(metric=name, split="validation", bin=-1, value=value))
    return pd.DataFrame(lines)


def test_the_table_tells_where_pairs_commit_and_refuses_what_is_flat(tmp_path):
    told = analysis.format_pairs(made_table(), "g").splitlines()
    for line in told[1:3]:
        assert line.split()[1:] == ["0.1000", "0.900", "refused", "refused", "0.300", "0.700"]
    (path,) = plotting_pairs.save_all(made_table(), "g", tmp_path)
    assert path.stat().st_size > 5000
    figure = plotting_pairs.commitment_figure(made_table(), "g")
    control = figure.axes[1].lines[1]
    np.testing.assert_allclose(control.get_ydata()[[0, -1]], [0, 1], atol=0.01)
    assert figure.axes[2].lines[0].get_ydata().tolist() == [1, 2, 3]


# ---------------------------------------------------------------- the theory, measured


def scaled_modes(eta, M=400, steps=3, seed=0):
    """A stack of linear blocks that multiply each of K orthonormal modes by eta [L, K]; the images do not change."""
    layers, K = eta.shape
    modes = jnp.asarray(
        np.linalg.qr(np.random.default_rng(seed).normal(size=(6, K)))[0].T.reshape(K, 3, 2), jnp.float32
    )
    x = jnp.asarray(np.random.default_rng(seed + 1).normal(size=(2, M, 3, 2)), jnp.float32)
    beside = syncgap_theory.beside(jnp.broadcast_to(modes, (layers, *modes.shape)))
    seen, gain = [], jnp.ones(K)
    for l in range(layers):
        gain = gain * eta[l]
        along = jnp.einsum("rmsd,ksd->rmk", x, modes)
        tokens = x + jnp.einsum("rmk,k,ksd->rmsd", along, gain - 1, modes)
        seen.append(syncgap_theory.projected(tokens, beside[l]))
    entered = jnp.einsum("msd,ksd->km", replicas.difference(x), modes)
    every = lambda value: jnp.broadcast_to(value, (steps, *value.shape))  # noqa: E731
    return syncgap_theory.amplitudes(every(jnp.stack(seen)), every(entered)), every(eta)


def test_where_blocks_are_gains_the_closure_holds_and_no_score_is_left():
    found, eta = scaled_modes(jnp.asarray([[1.2, 0.9, 1.0], [1.1, 0.8, 1.0], [1.0, 1.0, 3.0]]))
    np.testing.assert_allclose(found.after, eta[..., None] * found.before, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(syncgap_theory.closure_error(found, eta), 0, atol=1e-5)
    # With another eta, the error is the log of the product left out.
    wrong = syncgap_theory.closure_error(found, jnp.ones_like(eta))
    np.testing.assert_allclose(wrong[0, 2], np.log2([1.2 * 1.1, 0.9 * 0.8, 1.0]), atol=1e-5)
    of = jax.jit(syncgap_theory.local)(found, eta)
    assert np.abs(of.gain.gamma).max() < 1e-4
    # Without a gain of the score nothing is said, and nothing parts.
    assert not (np.asarray(of.kappa) > 1).any()


def test_amplitudes_that_part_are_predicted_to():
    """One Gaussian that becomes two, moved by a score of known gamma: the mode parts where m^2 passes c."""
    rng, M, c, gamma = np.random.default_rng(3), 20_000, 1.0, 0.1
    m = np.array([0.0, 0.8, 1.3, 2.0])
    a = rng.choice([-1.0, 1.0], size=(4, M)) * m[:, None] + np.sqrt(c) * rng.normal(size=(4, M))
    score = (m[:, None] * np.tanh(m[:, None] * a / c) - a) / c
    found = syncgap_theory.Amplitudes(*(x[:, None, None].astype(np.float32) for x in (a, a + gamma * score)))
    of = jax.jit(syncgap_theory.local)(found, jnp.ones((4, 1, 1)))
    np.testing.assert_allclose(of.gain.gamma[:, 0], gamma, rtol=0.1)
    np.testing.assert_allclose(of.kappa[1:, 0, 0], np.square(m[1:]) / c, rtol=0.1)
    crossing = replica.speciation_step(of.kappa[:, 0, 0])
    assert crossing.valid and 1 < crossing.step < 2


def test_a_fresh_model_passes_every_mode_as_it_is():
    """Its gates are shut: every block is the identity, tokens stay the embedded ones, and all terms are 0."""
    shape = dit_image.DitImageConfig(4, layers=3, d_model=8, heads=2)
    x = jax.random.normal(jax.random.key(1), (2, 1, 4, 4))
    modes = jnp.broadcast_to(jnp.eye(2, 32).reshape(2, 4, 8), (3, 2, 4, 8))

    @jax.jit
    def found():
        params = dit_image.init(jax.random.key(0), shape)
        _, states = dit_image.watched(params, shape, x, 5, 0, watch=lambda tokens, _: tokens)
        terms = syncgap_theory.block_terms(params, shape, x, 5, 0, 0.5, modes)
        return states - dit_image.embedded(params, shape, x)[None], terms

    added, terms = found()
    assert not np.any(added) and terms.chi.shape == (3, 2)
    for value in (terms.chi, terms.pi, terms.feed, terms.error):
        assert np.abs(value).max() < 1e-6


# ---------------------------------------------------------------- the study

TINY = dict(steps=12, layers=2, d_model=16, heads=2, batch=8, eval_images=64, pairs=4, sample_steps=5, forks=3)


@functools.cache
def table():
    hypers = sweep.rows(syncgap, g=[0.0, 1.0], sigma=[0.0, 0.0], learning_rate=[1e-2] * 2)
    return sweep.run(syncgap, [(syncgap.Config(**TINY | {"eval_every": 6}), hypers)]).table


@pytest.mark.slow
def test_from_the_command_line_with_table_and_figure(tmp_path, capsys):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | {"forks": 6}).items()]
    words = ["sweep", "syncgap", "--coupling", "0", "1", "--quiet", f"--out={tmp_path / 'run'}", *words]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert "noise error" in told and "held-out images are not training images" in told
    assert (tmp_path / "run" / "figures" / "commitment.png").exists()
    before = (tmp_path / "run" / "metrics.parquet").read_bytes()
    assert cli.main(words) == 0
    assert (tmp_path / "run" / "metrics.parquet").read_bytes() == before


def values(metric, split, g, step=12):
    rows = table()
    rows = rows[(rows["metric"] == metric) & (rows["split"] == split) & (rows["g"] == g) & (rows["step"] == step)]
    return rows.sort_values("bin")["value"].to_numpy()


@pytest.mark.slow
def test_rows_that_differ_in_coupling_are_one_model():
    for metric in ("noise_error", "encoder_accuracy"):
        np.testing.assert_array_equal(values(metric, "validation", 0.0), values(metric, "validation", 1.0))
    rows = table()[(table()["split"] == "train") & (table()["metric"] == "noise_error")]
    falling = rows[rows["g"] == 0.0].sort_values("step")["value"].to_numpy()
    assert np.isfinite(falling).all() and falling[-1] < falling[0]
    # Untrained, the model says 0: the error is the variance of the noise, 64 images of 64 pixels.
    assert values("noise_error", "validation", 0.0, 0)[0] == pytest.approx(1.0, abs=4 * np.sqrt(2 / 4096))


@pytest.mark.slow
def test_pairs_that_start_together_part_as_their_noise_does():
    for g in (0.0, 1.0):
        assert values("control_coarse/fork", "pairs", g)[-1] == 0  # one noise to the end: one image
        assert (values("control_fine/fork", "pairs", g)[:2] > 0).all()
        assert values("control_feature_cosine/fork", "pairs", g)[-1] == pytest.approx(1, abs=1e-5)
        assert (values("fine/fork", "pairs", g) > 0).all()
    # No step of coupling is no coupling; and without any the curve is flat to the bit.
    np.testing.assert_array_equal(values("fine/fork", "pairs", 0.0), values("fine/fork", "pairs", 0.0)[0])
    assert values("fine/fork", "pairs", 1.0)[0] == values("fine/fork", "pairs", 0.0)[0]
    # Without pairs that differ there is no difference to watch.
    assert not np.isfinite(values("cosine_gap/layer", "pairs", 0.0)).any()


@pytest.mark.slow
def test_the_preset_for_gpus_runs_at_its_own_shape():
    """Everything as it is there, images of 32 pixels, 12 layers of width 384, bfloat16; only less of it."""
    less = dict(steps=3, batch=2, warmup=1, eval_images=4, pairs=2, sample_steps=2, forks=2, limit=64, log_every=1)
    config = syncgap.Config(**syncgap.presets["full"] | less)
    assert (config.size, config.layers, config.d_model, config.dtype) == (32, 12, 384, "bfloat16")
    found = sweep.run(syncgap, [(config, sweep.rows(syncgap, seed=[0]))]).table
    of = lambda metric, split: found[(found["metric"] == metric) & (found["split"] == split)]["value"]  # noqa: E731
    assert len(of("noise_error", "train")) == 3 and np.isfinite(of("noise_error", "train")).all()
    assert len(of("cosine_gap/layer", "pairs")) == 12 and np.isfinite(of("fine/fork", "pairs")).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "ten"}, "--kind ten: give the number of a class"),
        ({"pairs": 1}, "at least 2 of each are needed"),
        ({"sample_steps": 1001}, "at most 1000"),
        ({"drop_class": 1.5}, "at most 1"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(InputError, match=message):
        syncgap.Config(**TINY | settings)


def test_a_class_that_is_not_there_is_refused_before_anything_compiles():
    config = syncgap.Config(**TINY | {"kind": "10"})
    with pytest.raises(InputError, match="the classes are 0 to 9"):
        sweep.run(syncgap, [(config, sweep.rows(syncgap, seed=[0]))])
