"""What the script on R concludes, on samples made so that the right answer is known."""

import numpy as np
import pandas as pd
import pytest

from experiments import phase_diffusion, phase_diffusion_tests
from gidd_jax.data.text import ngram
from gidd_jax.studies import phase, text_data
from gidd_jax.studies.phase_arms import NAMES

ALONE = {"oracle alone shuffled": 0.3}


def samples(effects, keys=60, seeds=(0, 1), K=2.0):
    """Nats of every arm within .02 of a key's own, and those of ``effects`` more; equal tokens where nothing acts."""
    found = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        own = rng.normal(1.0, 0.3, keys)
        nll = np.stack([own + effects.get(name, 0.0) + rng.normal(0, 0.02, keys) for name in NAMES])
        tokens = rng.integers(0, 5, (len(NAMES), keys, 12))
        tokens[[i for i, name in enumerate(NAMES) if name.startswith("no span")]] = tokens[0]
        rest = {name: rng.normal(1.0, 0.1, nll.shape) for name in ("sample_entropy", "masked")}
        found[K, 0.0, seed] = {"nll": nll, "tokens": tokens} | rest
    return found


def table(**metrics):
    lines = [
        dict(row=f"r{seed}", group="g0", step=9, split="validation", bin=-1, coupling=2.0, modulation=0.0, seed=seed)
        | {"metric": metric, "value": value}
        for seed in (0, 1)
        for metric, value in metrics.items()
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("effect", "keys", "word"),
    [(0.25, 60, "matters, +0.2"), (0.0, 60, "nothing: within ±0.05"), (-0.25, 60, "harms, -0.2"), (0.0, 2, "open")],
)
def test_what_r_says_is_told_by_what_was_written_down(effect, keys, word):
    wide = np.zeros(keys) if keys > 2 else np.array([0.3, -0.3])
    arrays = samples(ALONE | {"neither": effect + wide}, keys)
    found = phase_diffusion_tests.contrasts(arrays)
    assert phase_diffusion_tests.verdict(found[found["family"] == "information"], "neither - free").startswith(word)
    told = phase_diffusion_tests.tell(found, arrays)
    line = next(line for line in told.splitlines() if line.startswith("what R says, beside"))
    by_seed = [float(each) for each in line.split("seed by seed ")[1].split()]
    assert len(by_seed) == 2 and np.allclose(by_seed, effect, atol=0.03)


def test_the_controls_are_told_and_fail_where_they_should():
    measured = table(excess=0.02, ece=0.05, core_loss=0.4, r_spread=0.02, r_spread_left=0.01, critical_coupling=1.5)
    good = phase_diffusion_tests.controls(measured, samples(ALONE))
    assert good["positive"] and good["negative"] and good["left"] == {2.0: 0.5}
    told = phase_diffusion_tests.told_controls(good)
    assert "+0.020" in told and "best possible, within 0.05" in told and "50% of the variance" in told
    # The other way round is no finding, nor is nothing.
    for effect in (-0.3, 0.0):
        assert not phase_diffusion_tests.controls(measured, samples({"oracle alone shuffled": effect}))["positive"]
    moved = samples(ALONE)
    moved[2.0, 0.0, 1]["tokens"][NAMES.index("no span, 0.7"), 3, 4] += 1
    bad = phase_diffusion_tests.controls(measured[measured["metric"] != "excess"], moved)
    assert not bad["negative"] and "DIFFERS" in phase_diffusion_tests.told_controls(bad)
    assert "denoiser" not in phase_diffusion_tests.told_controls(bad)


def test_samples_of_text_are_judged_by_the_text_that_was_trained_on(tmp_path):
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 60)
    settings = dict(data=str(tmp_path / "text.txt"), tokenizer="characters", length=12, d_model=16, heads=2)
    config = phase.Config(**settings)
    data, _ = phase.load(config)
    judge = phase_diffusion.judge_of(config, data)
    corpus = text_data.corpus(config)
    real, odd = (corpus.tokenizer.encode(text)[None] for text in ("the mat and ", "xn dta meht "))
    assert judge(real)[0] < 0.5 < 2 < judge(odd)[0]
    model = ngram.fit(corpus.train.tokens, corpus.tokenizer.vocab_size, phase_diffusion.ORDER)
    np.testing.assert_allclose(judge(real), ngram.nats(model, real).mean(1))
    found = phase_diffusion.held_out(config, data, judge)
    assert found["tokens"].shape == (phase_diffusion.HELD_OUT, 12) and found["nll"].mean() < 1
    rows = phase_diffusion.judged({(2.0, 0.0, 0): {"tokens": found["tokens"][:6].reshape(2, 3, 12)}}, judge)
    np.testing.assert_allclose(rows[2.0, 0.0, 0]["nll"].ravel(), found["nll"][:6])
