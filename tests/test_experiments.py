"""What the scripts conclude, on tables made so that the right answer is known."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from experiments import easy_vs_hard_contrasts as contrasts
from experiments import easy_vs_hard_figures as figures
from experiments import easy_vs_hard_report as report
from experiments import noise_mix
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


NINE = float(np.log(9))


def factorial(alone, effect, spread=0.002, hit=None):
    """Jump losses by t: ``alone`` without coupling, less ``effect[tier, visibility]`` at K = 1 on any boards.

    ``hit[tier, K]``: the AUROC on wrong branches.
    """
    rng, lines = np.random.default_rng(1), []
    tiers, hit = contrasts.TIERS, hit or {}
    for group, tier, test, K, seed in itertools.product(("g0", "g1"), tiers, tiers, (0.0, 1.0), SEEDS):
        own = dict(group=group, tier=tier, test=test, attention=K, seed=seed, row=f"{tier}{K}{seed}", split="test")
        for head, bin_ in itertools.product(contrasts.HEADS, range(10)):
            gain = effect.get((tier, group), 0.0) if head == "jump" and K else 0.0
            value = alone - gain + rng.normal(0, spread)
            lines.append(line(metric=f"{head}_loss/t", value=value, **own | {"bin": bin_}))
        for arm, mean in (("branch", hit.get((tier, K), 0.6)), ("random", 0.9)):
            lines.append(line(metric=f"auroc_{arm}", value=mean + rng.normal(0, spread), **own))
            lines.append(line(metric=f"auroc_{arm}/t", value=mean - 0.1, **own | {"bin": 7}))
        for how in ("zero", "random"):
            for head in contrasts.HEADS:
                lines.append(line(metric=f"knockout_{how}_{head}", value=K * 0.1 * (how == "zero"), **own))
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("alone", "effect", "word"),
    [
        (1.0, {("hard", "g0"): 0.1}, "supported"),
        (1.0, {("hard", "g0"): 0.1, ("easy", "g0"): 0.1}, "refuted"),
        (NINE, {}, "void"),
    ],
)
def test_the_factorial_decides_by_what_was_written_down(alone, effect, word):
    table = factorial(alone, effect)
    found = contrasts.contrasts(table)
    primary, control, common = contrasts.verdict(table, found, NINE).splitlines()
    assert word in primary
    assert ("void" if word == "void" else "refuted") in control
    rows = found[(found["visibility"] == "given cells seen") & (found["head"] == "jump")]
    assert list(rows["test"]) == [contrasts.OWN, *contrasts.TIERS]
    expected = effect.get(("hard", "g0"), 0) - effect.get(("easy", "g0"), 0)
    assert (abs(rows["difference"] - expected) < 0.005).all()
    told = [float(number) for number in re.findall(r"boards ([+-]\d\.\d+)", common)]
    np.testing.assert_allclose(told, [expected] * 2, atol=0.005)


def test_a_wide_spread_leaves_the_factorial_open():
    table = factorial(1.0, {}, spread=0.2)
    assert "open" in contrasts.verdict(table, contrasts.contrasts(table), NINE).splitlines()[0]


def test_a_run_may_hold_the_seeing_models_alone():
    table = factorial(1.0, {("hard", "g0"): 0.1})
    table = table[table["group"] == "g0"]
    found, ordered = contrasts.contrasts(table), contrasts.orders(table)
    levels = contrasts.by_t(table)
    text = report.tell(table, found, ordered, levels, NINE, "boards")
    assert "blind" not in text
    assert "primary contrast, given cells seen: D = +0.1" in text
    axes = figures.drawn(table, found, ordered, levels, "boards").axes
    assert len(axes) == 6
    assert all("(" in ax.get_xlabel() and "(" in ax.get_ylabel() for ax in axes)


def test_a_knock_out_and_a_wrong_branch_stand_beside_their_controls():
    table = factorial(1.0, {}, hit={("hard", 1.0): 0.8, ("hard", 0.0): 0.7})
    found = contrasts.orders(table).set_index(["visibility", "measure", "tier", "test", "coupling"])
    knocked = found.loc[("given cells seen", "knock-out, jump", "hard", "hard", 1.0)]
    assert (knocked["value"], knocked["control"], knocked["gap"]) == pytest.approx((0.1, 0.0, 0.1))
    branch = found.loc[("blind", "AUROC of holding", "hard", "easy", 1.0)]
    assert (branch["value"], branch["control"], branch["gap"]) == pytest.approx((0.8, 0.9, -0.1), abs=0.01)
    training, coupling = contrasts.detection(table).splitlines()
    assert "+0.2" in training
    assert "+0.1" in coupling or "+0.09" in coupling
    assert training.endswith("above 0")
    levels = contrasts.by_t(table)
    text = report.tell(table, contrasts.contrasts(table), contrasts.orders(table), levels, NINE, "boards")
    assert "+0.100 ±0.000   +0.000 ±0.000   +0.100 ±0.000" in text
    at = levels.set_index(["metric", "visibility", "tier", "test", "coupling", "bin"])["mean"]
    assert at["auroc_branch/t", "blind", "hard", "easy", 1.0, 7] == pytest.approx(0.7)
    assert set(levels.loc[levels["metric"] == "jump_loss/t", "test"]) == set(contrasts.TIERS)
    by_t = next(told for told in text.splitlines() if "blind" in told and "random cells" in told)
    assert by_t.endswith(f"{'-':>13}" * 7 + f"{'0.80 ±0.00':>13}" + f"{'-':>13}" * 2)


@pytest.mark.parametrize("name", language.presets)
def test_the_published_sizes_are_presets_of_the_study(name):
    config = language.Config(**language.presets[name])
    assert (config.weighting, config.dial, config.length) == ("dynamic", "p_uniform", 512)
