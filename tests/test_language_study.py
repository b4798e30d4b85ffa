"""The language study as one replica: its floors, its noise, what it refuses, and the same loss in either form."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import cli, known, sweep
from gidd_jax.errors import InputError
from gidd_jax.studies import language, language_evaluation, language_model, text_data

MODEL = dict(d_model=16, heads=2, layers=1, cond=16, batch=8, length=8)
TINY = MODEL | dict(data="markov", tokens=4, steps=4, eval_sequences=64, strata=16, samples=4, sample_steps=4)
TINY |= dict(correct_steps=4)


@functools.cache
def table(**settings):
    """A few steps of one seed under masks and under uniform tokens."""
    config = language.Config(**TINY | settings)
    return sweep.run(language, [(config, sweep.grid(language, seed=[0], shift=[-1000.0, 1000.0]))]).table


def values(rows, metric, step):
    rows = rows[(rows["metric"] == metric) & (rows["step"] == step) & (rows["split"] == "validation")]
    return rows.sort_values("shift")["value"].to_numpy()


@pytest.mark.slow
def test_the_bound_of_the_best_model_is_the_entropy_and_no_model_is_below_it():
    rows = table(eval_sequences=512)
    entropy = values(rows, "entropy", 4)
    source = text_data.source(language.Config(**TINY))
    np.testing.assert_allclose(entropy, known.entropy(source, 8).nats / 8, rtol=1e-6)
    # The prior and reconstruction terms add little at these ends; its error is about that of 512 sequences' own -log P.
    np.testing.assert_allclose(values(rows, "oracle_elbo", 4), entropy, atol=0.12)
    assert (values(rows, "excess", 0) > 1).all()
    np.testing.assert_allclose(
        values(rows, "elbo", 4) - values(rows, "oracle_elbo", 4), values(rows, "excess", 4), atol=1e-4
    )
    assert (values(rows, "elbo_error", 4) > 0).all()


@pytest.mark.slow
def test_bins_of_t_add_up_to_the_bound():
    rows = table(eval_sequences=512)
    for shift in (-1000.0, 1000.0):
        at = rows[(rows["step"] == 4) & (rows["split"] == "validation") & (rows["shift"] == shift)]
        path = at[at["metric"] == "elbo/t"]["value"].to_numpy()
        assert len(path) == 10 and (path >= 0).all()
        # All but the two ends: prior and reconstruction.
        whole = at[at["metric"] == "elbo"]["value"].item()
        assert 0 <= whole - path.mean() < 0.1 * whole


@pytest.mark.slow
def test_logits_made_chunk_by_chunk_give_the_same_loss_and_gradient():
    whole, cut = (language.Config(**TINY, chunk=chunk) for chunk in (0, 24))
    data, _ = language.load(whole)
    hyper = language.Hyper(shift=0.5)
    params = language.init(jax.random.key(0), hyper, whole, data).params
    drawn = language.batch(jax.random.key(1), hyper, whole, data, jnp.int32(0))

    def value(params, config):
        return language.loss(params, drawn, jax.random.key(2), hyper, config, data, jnp.int32(0))[0]

    one, other = (jax.jit(jax.value_and_grad(value), static_argnums=1)(params, config) for config in (whole, cut))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(other[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_padding_is_neither_noised_nor_counted(tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"{i * i}\n" for i in range(60)))
    config = language.Config(**TINY | dict(data=str(tmp_path / "lines.txt"), cut="line", crop="documents", length=7))
    data, _ = language.load(config)
    hyper = language.Hyper(shift=1000.0)
    x, valid = language.batch(jax.random.key(1), hyper, config, data, jnp.int32(0))
    assert not valid.all() and valid.any()
    params = language.init(jax.random.key(0), hyper, config, data).params

    @functools.partial(jax.jit, static_argnums=3)
    def nats(params, x, valid, padding):
        own = dataclasses.replace(config, padding=padding)
        return language.loss(params, (x, valid), jax.random.key(2), hyper, own, data, jnp.int32(0))[0]

    value = lambda params, x: nats(params, x, valid, "ignored")  # noqa: E731
    # Another clean token below the padding moves the model's input there, but no target: with the head at 0, as it is
    # at the start, the loss does not move at all. (A head at 0 cannot tell other targets either.)
    assert value(params, x) == value(params, jnp.where(valid, x, 65))
    sharp = jax.tree.map(lambda a: a + 0.3 * jnp.sin(jnp.arange(a.size)).reshape(a.shape), params)
    assert abs(value(sharp, x) - value(sharp, jnp.where(valid, 65, x))) > 1e-3
    # The authors' way, by name: the padding is text, so what stands there is a target.
    theirs = lambda x: nats(sharp, x, valid, "reference")  # noqa: E731
    np.testing.assert_allclose(theirs(x), nats(sharp, x, jnp.ones_like(valid), "ignored"), rtol=1e-5)
    assert abs(theirs(x) - theirs(jnp.where(valid, x, 65))) > 1e-3


@pytest.mark.parametrize(
    ("settings", "hypers", "message"),
    [
        ({}, {"p_uniform": 0.2}, "p_uniform moves nothing here: it needs --noise hybrid"),
        ({"noise": "hybrid"}, {"shift": 1.0}, "shift moves nothing here: it needs --noise log_snr"),
        ({}, {"p_uniform": 1.0}, r"p_uniform=1.0: outside its range \[0, 0.9999\]"),
    ],
)
def test_dials_of_the_other_noise_are_refused(settings, hypers, message):
    config = language.Config(**TINY | settings)
    with pytest.raises(InputError, match=message):
        sweep.run(language, [(config, sweep.grid(language, **hypers))])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "--length 0: must be at least 1"),
        ({"tokens": 1}, "--tokens of 2 or more"),
        ({"correct_temperature": 0.0}, "--correct-temperature 0: must be above 0"),
        ({"dial": "seed"}, "--dial seed: not one of"),
        ({"weighting": "heavy"}, "--weighting heavy: not one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        language.Config(**TINY | settings)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"noise": "hybrid"}, {"data": "hmm"}, {"dtype": "bfloat16"}, {"time": False}])
def test_variants_train_to_finite_numbers(settings):
    config = language.Config(**TINY | settings)
    dial = {config.dial: [0.0, 0.5]}
    rows = sweep.run(language, [(config, sweep.grid(language, seed=[0], **dial))]).table
    assert np.isfinite(rows[rows["metric"].isin(["loss", "elbo"])]["value"]).all()


@pytest.mark.slow
def test_a_text_file_trains_from_the_command_line_with_figures_and_is_resumed(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 60)
    flags = {**TINY, "data": tmp_path / "text.txt", "tokenizer": "characters", "out": tmp_path / "run"}
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["sweep", "language", *words, "--shift", "-1000", "0", "--quiet"]
    assert cli.main(command) == 0
    told = capsys.readouterr().out
    assert "bits per" in told and "the last tenth of the text is held out" in told
    assert {path.name for path in (tmp_path / "run" / "figures").iterdir()} >= {"learning_curves.png", "by_t.png"}
    assert cli.main(command) == 0
    assert capsys.readouterr().out == told
    run = str(tmp_path / "run")
    assert cli.main(["export", run]) == 0
    row = capsys.readouterr().out.split()[0]
    few = ["--count", "2", "--steps", "3", "--correct", "2"]
    assert cli.main(["sample", run, "--row", row, "--prompt", "the ", *few]) == 0
    written = capsys.readouterr().out
    texts = [part.split("\n", 1)[1] for part in written.split("row ")[1:]]
    assert len(texts) == 4 and all(text.startswith("the ") for text in texts)
    assert cli.main(["sample", run, "--row", row, "--prompt", "the cat sat"]) == 2
    assert "its 11 tokens leave none of the 8 to write" in capsys.readouterr().err
    assert cli.main(["evaluate", run, "--eval-sequences", "32", "--samples", "0"]) == 0
    again = capsys.readouterr().out
    assert "bits per" in again and "self-correction" not in again
    assert cli.main(["evaluate", run, "--eval-sequences", "0"]) == 2
    assert "--eval-sequences 0: must be at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_of_the_probe_comes_close_to_the_entropy_and_its_samples_to_the_source():
    """6,000 steps on a chain of 4 tokens: the bound within .1 nats a token of the best model's, samples within .15."""
    config = language.Config(
        **TINY | dict(d_model=32, layers=2, batch=64, steps=6000, eval_sequences=512, samples=256, sample_steps=32),
        schedule="cosine",
    )
    hypers = sweep.grid(language, seed=[0], shift=[-1000.0, 0.0], learning_rate=3e-3)
    rows = sweep.run(language, [(config, hypers)]).table
    assert (values(rows, "excess", 6000) < 0.1).all()
    np.testing.assert_allclose(values(rows, "sample_nll", 6000), values(rows, "entropy", 6000), atol=0.15)


@pytest.mark.parametrize("shift", [-1000.0, 0.0, 1000.0])
def test_the_best_model_samples_the_source(shift):
    """With the cavity as denoiser -log P of samples has the mean that true sequences have, to 4 standard errors."""
    config = language.Config(**TINY | dict(samples=1024, sample_steps=64, correct_steps=0))
    data, _ = language.load(config)
    schedule = language_model.noise(language.Hyper(shift=shift), config, data)

    @jax.jit
    def drawn(key):
        best = lambda z, t: jnp.log(known.cavity(data["source"], schedule, z, t))  # noqa: E731
        return language_evaluation.sample(key, schedule, best, config)["sample"]

    tokens = drawn(jax.random.key(0))
    assert (tokens < schedule.mask_id).all()
    nats = -np.asarray(known.log_likelihood(data["source"], tokens))
    error = nats.std(ddof=1) / np.sqrt(len(nats))
    # 64 steps draw cells that share a step independently of each other, which costs up to .02 nats a token here.
    assert abs(nats.mean() - known.entropy(data["source"], 8).nats) < 4 * error + 0.02 * 8
