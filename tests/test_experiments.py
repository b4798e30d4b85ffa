"""What the scripts conclude, on tables made so that the right answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments import easy_vs_hard, noise_mix
from gidd_jax.studies import language

SEEDS = range(6)


def line(step=9, split="validation", bin=-1, **values):
    return dict(row="a", group="g0", step=step, split=split, bin=bin) | values


def mixes(change):
    """Six seeds a mix; self-correction moves the likelihood of a mix by ``change[mix]`` +- .01."""
    wobble, lines = np.random.default_rng(0).normal(0, 0.01, 100), []
    for (i, mix), seed in itertools.product(enumerate(noise_mix.MIXES), SEEDS):
        own = dict(mix=mix, seed=seed, row=f"{mix}{seed}")
        found = {"entropy": 0.4, "excess": 0.2 + 0.01 * i, "sample_nll": 1.0}
        found["corrected_nll"] = 1.0 + change.get(mix, 0.0) + wobble[10 * i + seed]
        lines += [line(metric=metric, value=value, **own) for metric, value in found.items()]
    return pd.DataFrame(lines)


def test_noise_mix_says_which_mixes_self_correction_helps():
    told = noise_mix.verdicts(mixes({"uniform": -0.3, "balanced": 0.3})).splitlines()
    words = {mix: next(text for text in told if text.startswith(mix)) for mix in noise_mix.MIXES}
    assert "helps: -0.3" in words["uniform"]
    assert "hurts: +0.3" in words["balanced"]
    assert all("changes nothing that can be told" in words[mix] for mix in ("masked", "p_u .1", "p_u .2"))
    assert "excess over masked +0.050" in words["uniform"]


def factorial(alone, effect, spread=0.002):
    """Jump losses by t: ``alone`` without coupling, less ``effect[tier, visibility]`` at K = 1."""
    rng, lines = np.random.default_rng(1), []
    tiers = (easy_vs_hard.EASY, easy_vs_hard.HARD)
    for group, tier, K, seed, bin_ in itertools.product(("g0", "g1"), tiers, (0.0, 1.0), SEEDS, range(10)):
        own = dict(group=group, tier=tier, attention=K, seed=seed, bin=bin_, row=f"{tier}{K}{seed}", split="test")
        for head in easy_vs_hard.HEADS:
            gain = effect.get((tier, group), 0.0) if head == "jump" and K else 0.0
            lines.append(line(metric=f"{head}_loss/t", value=alone - gain + rng.normal(0, spread), **own))
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("alone", "effect", "word"),
    [
        (1.0, {(easy_vs_hard.HARD, "g0"): 0.1}, "supported"),
        (1.0, {(easy_vs_hard.HARD, "g0"): 0.1, (easy_vs_hard.EASY, "g0"): 0.1}, "refuted"),
        (np.log(9), {}, "void"),
    ],
)
def test_the_factorial_decides_by_what_was_written_down(alone, effect, word):
    table = factorial(alone, effect)
    found = easy_vs_hard.contrasts(table)
    primary, control = easy_vs_hard.verdict(table, found).splitlines()
    assert word in primary
    assert ("void" if word == "void" else "refuted") in control
    row = found[(found["visibility"] == "given cells seen") & (found["head"] == "jump")].iloc[0]
    expected = effect.get((easy_vs_hard.HARD, "g0"), 0) - effect.get((easy_vs_hard.EASY, "g0"), 0)
    assert abs(row["difference"] - expected) < 0.005


def test_a_wide_spread_leaves_the_factorial_open():
    table = factorial(1.0, {}, spread=0.2)
    assert "open" in easy_vs_hard.verdict(table, easy_vs_hard.contrasts(table)).splitlines()[0]


@pytest.mark.parametrize("name", language.presets)
def test_the_published_sizes_are_presets_of_the_study(name):
    config = language.Config(**language.presets[name])
    assert (config.weighting, config.dial, config.length) == ("dynamic", "p_uniform", 512)
