"""The synchronisation study: the linear theory on a model, what its table says, the theory measured, the command."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gidd_jax import analysis, cli, plotting_pairs, replica, sweep
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap, syncgap_theory

GOLDEN = pathlib.Path(__file__).parent / "golden" / "sync_modes.npz"

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
            lines.append(own | dict(metric=name, bin=-1, value=np.nan))  # as of every metric a split has not
    return pd.DataFrame(lines)


def test_the_table_tells_where_pairs_commit_and_refuses_what_is_flat(tmp_path):
    told = analysis.format_pairs(made_table(), "g").splitlines()
    assert told[2].split()[:3] == ["mean", "square", "fraction"] and told[2].count("of the path") == 4
    for line in told[3:5]:
        assert line.split()[1:] == ["0.1000", "0.9000", "refused", "refused", "0.300", "0.700"]
    (path,) = plotting_pairs.save_all(made_table(), "g", tmp_path)
    assert path.stat().st_size > 5000
    figure = plotting_pairs.commitment_figure(made_table(), "g")
    assert "2 seeds" in figure.get_suptitle() and len(figure.axes[2].collections) == 2  # a band a value of g
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
