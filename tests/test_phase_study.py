"""The phase study: that R only reads, that its arms differ in what they say, and the answers of its command line."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import cli, export, sampling, sweep
from gidd_jax.config import to_json
from gidd_jax.errors import InputError
from gidd_jax.studies import phase, phase_arms, phase_evaluation, phase_model

TINY = dict(data="markov", tokens=4, length=12, d_model=16, heads=2, layers=2, cond=8, batch=8, eval_sequences=16)
TINY |= dict(strata=4, samples=3, sample_steps=5, steps=4, oscillators=4)


@functools.cache
def replica(**settings):
    config = phase.Config(**TINY | settings)
    data, _ = phase.load(config)
    params = phase.init(jax.random.key(0), phase.Hyper(), config, data).params
    # The head starts at 0: move it, so that what a model says depends on what it sees.
    params = jax.tree.map(lambda a: a + 0.2 * jnp.sin(jnp.arange(a.size)).reshape(a.shape), params)
    return config, data, params


@functools.cache
def gradients():
    """Hyper -> gradient of the loss, one program for all."""
    config, data, params = replica()

    def value(p, hyper):
        drawn = phase.batch(jax.random.key(1), hyper, config, data, jnp.int32(0))
        return phase.loss(p, drawn, jax.random.key(2), hyper, config, data, jnp.int32(0))[0]

    return jax.jit(lambda hyper: jax.grad(value)(params, hyper))


def gradient(**values):
    return gradients()(jax.tree.map(jnp.float32, phase.Hyper(**values)))


def test_r_only_reads_unless_it_is_let_through():
    still = gradient(core_weight=0.0)
    read = gradient(core_weight=5.0)
    for a, b in zip(jax.tree.leaves(still["dit"]), jax.tree.leaves(read["dit"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert all(np.abs(np.asarray(leaf)).max() > 0 for leaf in jax.tree.leaves(read["core"]))
    assert all(np.abs(np.asarray(leaf)).max() == 0 for leaf in jax.tree.leaves(still["core"]))
    let = gradient(core_weight=5.0, core_gradient=1.0)
    assert np.abs(np.asarray(let["dit"]["token"] - read["dit"]["token"])).max() > 1e-5


@pytest.mark.slow
def test_modulation_is_off_at_0_and_reads_the_clamp_where_it_is_on():
    config, data, params = replica()
    z = jnp.full((2, 12), 4).at[:, ::3].set(1)
    see = lambda alpha, clamp: phase_model.see(params, phase.Hyper(modulation=alpha), config, data, z, clamp)  # noqa: E731
    plain = see(0.0, jnp.nan)
    np.testing.assert_array_equal(plain.logits, see(0.0, 0.3).logits)
    assert np.abs(np.asarray(see(1.0, 0.3).logits - see(1.0, 0.7).logits)).max() > 1e-3
    np.testing.assert_array_equal(plain.r, see(1.0, 0.3).r)
    assert plain.logits.shape == (2, 12, 5)


def test_arms_share_keys_and_differ_in_what_they_name():
    config, data, params = replica()
    hyper = phase.Hyper(span=0.8, lo=0.6)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(5), i))(jnp.arange(3))

    def guess(source):
        def look(z, share):
            seen = phase_model.see(params, hyper, config, data, z)
            return seen.logits, jnp.where(source == 1, 1 - seen.r, seen.r)

        return look

    found = jax.jit(lambda k: phase_arms.sample(k, guess, hyper, 5, 12, 4))(keys)
    by = {name: jax.tree.map(lambda leaf, i=i: leaf[i], found) for i, name in enumerate(phase_arms.NAMES)}
    same = lambda a, b: bool((by[a].tokens == by[b].tokens).all())  # noqa: E731
    assert same("no span", "no span, 0.3") and same("no span", "no span, 0.7")
    assert not same("0", "1") and not same("untrained", "free")
    for name, arm in by.items():
        assert (arm.counts.sum(0) == 12).all() and (arm.tokens < 4).all(), name
    arm, blank = sampling.Arm(span=0.8, lo=0.6), jnp.full((3, 12), 4)
    alone = jax.jit(lambda k: sampling.guided(k, guess(0), blank, 5, 4, arm))(jax.random.clone(keys))
    np.testing.assert_array_equal(alone.tokens, by["free"].tokens)
    counts = lambda r: np.asarray(sampling.reveal_counts(jnp.full(3, 12), r, 0.8, 0.6))  # noqa: E731
    np.testing.assert_array_equal(by["yoked"].counts, counts(jnp.roll(by["free"].r, 1, axis=1)))
    np.testing.assert_array_equal(by["shuffled"].counts, by["free"].counts)
    np.testing.assert_array_equal(by["oracle shuffled"].counts, by["oracle"].counts)
    assert (np.diff(np.asarray(by["mean path"].counts), axis=1) == 0).all()
    waiting = {
        name: float(phase_arms.left(by[name].counts, 12).mean()) for name in ("0", "0.5", "1", "free", "matched")
    }
    assert waiting["0"] > waiting["0.5"] > waiting["1"]
    assert waiting["matched"] == pytest.approx(waiting["free"], abs=0.05)


@pytest.mark.slow
def test_the_oracle_judges_the_token_drawn_and_that_is_found():
    """A model that knows nothing (its head is 0): only R can tell a token that fits from one that does not."""
    config = phase.Config(**TINY | dict(samples=256))
    data, _ = phase.load(config)
    params = phase.init(jax.random.key(0), phase.Hyper(), config, data).params
    sampled = jax.jit(lambda key, fresh: phase_evaluation.sampled(key, fresh, params, phase.Hyper(), config, data)[1])
    found = sampled(jax.random.key(1), jax.random.key(2))
    nll = {name: np.asarray(found["nll"][i]) for i, name in enumerate(phase_arms.NAMES)}
    gain = nll["oracle alone shuffled"] - nll["oracle alone"]
    assert gain.mean() > 5 * gain.std(ddof=1) / 16
    # What is only certain of a cell says nothing of the token that was drawn there.
    blind = nll["certain alone shuffled"] - nll["certain alone"]
    assert blind.mean() < gain.mean() / 2
    # With all masked the chance that a token drawn evenly from V is right is 1/V in the mean, whatever the source.
    first = np.asarray(found["r_path"][phase_arms.NAMES.index("oracle")][0])
    assert abs(first.mean() - 1 / 4) < 4 * first.std(ddof=1) / 16
    # A dial that no row has turned is the sampler's own.
    assert {name: phase_arms.arm(phase.Hyper(), how) for name, how in phase_arms.SAMPLERS.items()} == sampling.ARMS


def test_a_model_goes_on_with_a_text_or_fills_its_gaps_from_the_command_line(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 60)
    settings = {"data": str(tmp_path / "text.txt"), "tokenizer": "characters", "sample_steps": 4}
    config, _, params = replica(**settings)
    about = {"study": "phase", "row": "3f2a", "hyper": phase.Hyper()._asdict(), "config": to_json(config)}
    export.save(tmp_path / "a", params, about)
    sample = ["sample", str(tmp_path / "a")]
    assert cli.main([*sample, "--prompt", "the c", "--count", "2"]) == 0
    told = capsys.readouterr().out
    texts = [part.split("\n")[1] for part in told.split("row ")[1:]]
    assert len(texts) == 2 and all(text.startswith("the c") and len(text) == 12 for text in texts)
    assert cli.main([*sample, "--prompt", "the c", "--count", "1"]) == 0
    assert capsys.readouterr().out == told[: told.index("row ", 4)]  # a sample does not depend on how many there are
    assert cli.main([*sample, "--prompt", "a[MASK]c[MASK]", "--count", "1", "--sampler", "remdm"]) == 0
    first, text, r, revealed = capsys.readouterr().out.strip().split("\n")
    assert first == "row 3f2a, remdm 1:" and len(text) == 4 and text[::2] == "ac" and "█" not in text
    assert r.startswith("R by step: 0.") and len(r.split()) == 7
    assert sum(map(int, revealed.split()[2:])) == 2
    for wrong, message in (
        (["--sampler", "best"], "--sampler best: not one of guided, low-confidence"),
        (["--prompt", "the cat sat o"], "13 tokens leave none of the 12 to write"),
        (["--prompt", "the", "--length", "3"], "its 3 tokens leave none of the 3 to write"),
        (["--length", "13"], "13 tokens: the model has 12"),
        (["--steps", "0"], "--count, --steps and --length start at 1"),
        (["--temperature", "0"], "--temperature 0: must be above 0"),
    ):
        assert cli.main([*sample, *wrong]) == 2
        told = capsys.readouterr().err
        assert message in told and len(told.splitlines()) == 1


@pytest.mark.slow
def test_a_sweep_from_the_command_line_measures_every_arm(tmp_path, capsys):
    flags = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run = ["sweep", "phase", *flags, "--coupling", "0", "2", "--out", str(tmp_path / "a"), "--quiet"]
    assert cli.main([*run, "--eval-every", "4"]) == 0
    told = capsys.readouterr().out
    assert "Samples from the same keys, coupling 2, 1 seed" in told and "oracle shuffled" in told
    import pandas as pd

    table = pd.read_parquet(tmp_path / "a" / "metrics.parquet")
    last = table[(table["step"] == 4) & (table["split"] == "validation")]
    nll = last[last["metric"].str.startswith("arm_nll@")]
    assert len(nll) == 2 * len(phase_arms.NAMES) and np.isfinite(nll["value"]).all()
    assert (last[last["metric"] == "excess"]["value"] > -0.2).all()
    assert (last[last["metric"] == "modulation_shift"]["value"] == 0).all()
    left, all_of_it = (last[last["metric"] == name]["value"].to_numpy() for name in ("r_spread_left", "r_spread"))
    assert (left <= all_of_it + 1e-9).all()
    with np.load(sorted((tmp_path / "a" / "arrays").rglob("*.npz"))[-1]) as found:
        assert any(name.endswith("tokens") for name in found.files)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["study"] == "phase"
    row = next(iter(last["row"]))
    assert cli.main(["sample", str(tmp_path / "a"), "--row", row, "--count", "1"]) == 0
    assert "nats a token under the source" in capsys.readouterr().out
    assert cli.main(["sample", str(tmp_path / "a")]) == 2
    assert "which row of the sweep?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 1}, "give 2 or more, or 0"),
        ({"core_layer": 2}, "--core-layer 2: the core stands between two of the 2 layers"),
        ({"layers": 1}, "the core stands between two of the 1 layers"),
        ({"dial": "seed"}, "--dial seed"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        phase.Config(**TINY | settings)


@pytest.mark.slow
def test_a_trained_denoiser_is_near_the_entropy_and_its_r_is_calibrated():
    settings = dict(length=24, tokens=8, d_model=64, layers=3, cond=16, batch=64, steps=1500, schedule="cosine")
    settings |= dict(warmup=100, eval_sequences=512, strata=16, samples=0, oscillators=16)
    config = phase.Config(**TINY | settings | {"eval_every": 1500, "heads": 4})
    table = sweep.run(phase, [(config, sweep.grid(phase, seed=[0], learning_rate=[3e-3]))]).table
    last = table[(table["step"] == 1500) & (table["split"] == "validation")].set_index(["metric", "bin"])["value"]
    assert last["excess", -1] < 0.05
    assert last["ece", -1] < 0.1
